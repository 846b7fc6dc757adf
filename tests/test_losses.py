"""Losses and regularizers: one line of CASES holds a function to everything that it says.

All modules of `tests/cases` are gathered. References:
- of a loss per token that declares couples='token': `reference(**numbers) -> (value, slope)` for
  one token; a sample array is given as the number of the token's sample, maps (`segment_ids`, …)
  are not given, hyper-parameters are bound to the reference;
- of any other: `reference(batch, samples, cotangent, **hyper) -> (values, gradient)`: the whole
  batch, `samples` the list of `batches.samples`, and the gradient of Σ cotangent·values. Values
  count on action tokens, or for losses of [N] on the samples that lie in the batch.
A slope or gradient is that of the first array of DIFFERENTIATED that the loss takes, all others are
constants; or it is a dict by name, where there are more.
"""

import functools

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import batches

from rljax import losses, masking, regularizers
from rljax.binding import signature

DIFFERENTIATED = (
  *('logprobs', 'sequence_logprobs', 'new_values', 'scores', 'token_scores'),
  *('entropy', 'nucleus_entropy', 'sum_squares', 'self_certainty', 'full_kl', 'full_forward_kl'),
  *('teacher_reverse_kl', 'teacher_forward_kl', 'teacher_jsd', 'teacher_top_k_kl'),
  'stored_kl',
)
MAPS = {'segment_ids', 'sample_ids', 'sample_slots'}
ESTIMATORS = {'k1', 'k2', 'k3'}  # functions of d, not losses
SCOPES = ('token', 'sequence', 'group', 'batch')

CASES, NAMED, OWN_ARRAYS = cases.gather('rljax.losses', 'rljax.regularizers')
BATCH = batches.packed(1)
BATCH |= {name: make(BATCH, np.random.default_rng(5)) for name, make in OWN_ARRAYS.items()}
MASK = BATCH['action_mask']
SAMPLES = list(batches.samples(BATCH))
SAMPLE_OF = {place: sample for sample, places in SAMPLES for place in places}

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))
each_function = cases.by_function(CASES)


def names_of(case):
  return (*signature(case.function).arrays, *case.optional)


def arrays_of(case, batch=BATCH):
  return {name: jnp.asarray(batch[name]) for name in names_of(case)}


def run(case, arrays, hyper=None):
  found = signature(case.function)
  optional = {name: arrays[name] for name in case.optional}
  hyper = case.hyper if hyper is None else hyper
  return case.function(*(arrays[name] for name in found.arrays), **optional, **hyper)


def is_float(x):
  return jnp.issubdtype(x.dtype, jnp.floating)


def floats(arrays, dtype=None):
  return {n: x if dtype is None else x.astype(dtype) for n, x in arrays.items() if is_float(x)}


def couples(case):
  return case.couples or case.function.declared.couples


def per_sample(case):
  return case.function.declared.denominator != 'tokens'


def counts(case, batch=BATCH):
  """bool: the entries of the result that anyone makes use of."""
  return batch['sample_slots'] >= 0 if per_sample(case) else batch['action_mask']


def as_gradients(case, gradient):
  if isinstance(gradient, dict):
    return gradient
  own = next((n for n in DIFFERENTIATED if n in names_of(case)), None)
  return {own: gradient} if own else {}


def with_gradient(case, arrays, weights, shield=None):
  """((loss, diagnostics), ∇ Σ weights·loss with respect to the float arrays)."""

  def total(x):
    given = {**arrays, **x}
    found = run(case, given if shield is None else masking.shield(given, shield))
    return masking.weighted_sum(found[0], weights), found

  gradient, found = jax.grad(total, has_aux=True)(floats(arrays))
  return found, gradient


@functools.cache
def compiled(case):
  """One program for all tests in float32: shielded, as in the loss pass."""
  return jax.jit(functools.partial(with_gradient, case))


def step(case, arrays, batch=BATCH):
  """(loss, 0 where nobody makes use of it; gradients of its sum)."""
  used = counts(case, batch)
  (loss, _), gradients = compiled(case)(arrays, used.astype(np.float32), batch['action_mask'])
  return np.where(used, loss, 0), gradients


def test_every_loss_has_a_case():
  public = {*losses.__all__, *regularizers.__all__}
  assert public - ESTIMATORS - NAMED == set(), 'without a case'
  assert all(hasattr(case.function, 'declared') for case in CASES.values())


def number(x, place):
  """What a token sees of an array."""
  if np.ndim(x) == 0:
    return x
  return x[place] if np.ndim(x) == 3 else x[SAMPLE_OF[place]]


def of_tokens(case, cotangent):
  """A reference per token as one of the whole batch, on the tokens that count."""
  values, gradients = np.zeros(MASK.shape), {}
  for place in zip(*np.nonzero(MASK), strict=True):
    numbers = {n: number(BATCH[n], place) for n in names_of(case) if n not in MAPS}
    values[place], slopes = case.reference(**numbers)
    for name, slope in as_gradients(case, slopes).items():
      gradient = gradients.setdefault(name, np.zeros(BATCH[name].shape))
      gradient[place if gradient.ndim == 3 else SAMPLE_OF[place]] += cotangent[place] * slope
  return values, gradients


@each_case
def test_values_and_gradients_are_those_of_the_formula(case):
  used = counts(case)
  cotangent = np.where(used, np.random.default_rng(2).uniform(0.5, 1.5, used.shape), 0)
  with jax.enable_x64(True):
    (loss, diagnostics), gradient = with_gradient(case, arrays_of(case), jnp.asarray(cotangent))
  assert loss.shape == used.shape and loss.dtype == jnp.float64
  assert all(x.shape == used.shape for x in diagnostics.values())
  if couples(case) == 'token' and not per_sample(case):
    values, expected = of_tokens(case, cotangent)
  else:
    values, expected = case.reference(BATCH, SAMPLES, cotangent, **case.hyper)
  np.testing.assert_allclose(np.asarray(loss)[used], values[used], atol=1e-12, rtol=1e-11)
  expected = as_gradients(case, expected)
  for name, value in gradient.items():
    if name in expected:
      np.testing.assert_allclose(value, expected[name], atol=1e-12, rtol=1e-11, err_msg=name)
    else:
      assert not np.any(value), f'{name} is a constant'


@each_function
def test_masked_entries_have_no_influence(case):
  """Nor is there a scatter-add, which accelerators do not sum in one order."""
  arrays = arrays_of(case)
  weights = np.zeros(counts(case).shape, np.float32)
  assert 'scatter' not in str(compiled(case).trace(arrays, weights, MASK).jaxpr)
  expected = step(case, arrays)
  for filler in (np.nan, np.inf, 1e30):
    dirty = {
      n: np.where(MASK, x, np.float32(filler)) if is_float(x) and x.shape == MASK.shape else x
      for n, x in arrays.items()
    }
    jax.tree.map(np.testing.assert_array_equal, step(case, dirty), expected)
  for gradient in expected[1].values():
    assert np.all(np.isfinite(gradient))
    assert gradient.shape != MASK.shape or not np.any(np.asarray(gradient)[~MASK])


def turned(batch):
  """The same batch with the rows in the other order."""
  slots = batch['sample_slots']
  micro, row, place = np.unravel_index(np.maximum(slots, 0), batch['sample_ids'].shape)
  row = batch['sample_ids'].shape[1] - 1 - row
  moved = np.ravel_multi_index((micro, row, place), batch['sample_ids'].shape)
  batch = {n: x[:, ::-1] if np.ndim(x) == 3 else x for n, x in batch.items()}
  return batch | {'sample_slots': np.where(slots >= 0, moved, -1).astype(np.int32)}


@each_function
def test_the_order_of_rows_does_not_matter(case):
  batch = turned(BATCH)
  loss, found = step(case, arrays_of(case))[0], step(case, arrays_of(case, batch), batch)[0]
  found = found if per_sample(case) else found[:, ::-1]
  compare = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  compare = np.testing.assert_array_equal if couples(case) == 'token' else compare
  compare(found, loss)


def scope(case, changed, sample, place):
  """How far from (sample, place) the entries of `changed` lie."""
  if per_sample(case):
    others = {(int(i), None) for i in np.flatnonzero(changed)} - {(sample, None)}
  else:
    others = {(SAMPLE_OF[p], p) for p in zip(*np.nonzero(changed), strict=True)} - {(sample, place)}
  groups = {BATCH['group_ids'][i] for i, _ in others}
  if not others:
    return 'sequence' if per_sample(case) else 'token'
  if {i for i, _ in others} == {sample}:
    return 'sequence'
  return 'group' if groups == {BATCH['group_ids'][sample]} else 'batch'


CHOSEN = [(s, p) for s, places in SAMPLES for p in places if MASK[p]][::2]


@functools.cache
def mapped(case):
  """Losses: as it is; at twice the float hyper-parameters; with the entries of a CHOSEN moved."""
  lanes = 2 + len(CHOSEN)
  arrays, hyper = arrays_of(case), float_hyper(case)
  places = tuple(np.array(axis) for axis in zip(*(p for _, p in CHOSEN), strict=True))
  index = (np.array([s for s, _ in CHOSEN]),)

  def moved(x, amount):
    stack = np.repeat(np.asarray(x, np.float32)[None], lanes, axis=0)
    if x.ndim:
      stack[(np.arange(2, lanes), *(places if x.ndim == 3 else index))] += amount
    return stack

  # Different amounts: what cancels in a ratio would hide that it counts.
  stacks = {n: moved(x, 0.25 + 0.2 * i) for i, (n, x) in enumerate(floats(arrays).items())}
  doubled = np.where(np.arange(lanes) == 1, 2, 1).astype(np.float32)
  hypers = {n: np.float32(v) * doubled for n, v in hyper.items()}
  found = jax.vmap(lambda x, h: run(case, {**arrays, **x}, case.hyper | h)[0])
  return np.asarray(jax.jit(found)(stacks, hypers))


def float_hyper(case):
  hyper = signature(case.function).hyper | case.hyper
  return {n: v for n, v in hyper.items() if isinstance(v, float)}


@each_function
def test_what_it_couples(case):
  changed = (np.abs(mapped(case)[2:] - mapped(case)[0]) > 1e-6) & counts(case)
  scopes = [scope(case, c, s, p) for c, (s, p) in zip(changed, CHOSEN, strict=True)]
  assert max(scopes, key=SCOPES.index) == couples(case)


@each_function
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper, used = float_hyper(case), counts(case)
  if hyper:
    for times, found in zip((1, 2), mapped(case)):  # of one program
      given = case.hyper | {n: times * v for n, v in hyper.items()}
      expected = np.asarray(run(case, arrays_of(case), given)[0])
      np.testing.assert_allclose(found[used], expected[used], rtol=1e-5, atol=1e-6)


def on_policy(case):
  """The arrays of a policy that drew the tokens itself; advantages are constant in a sample."""
  batch = dict(BATCH)
  for name in ('old_logprobs', 'policy_logprobs', 'behavior_logprobs'):
    batch[name], batch[f'sequence_{name}'] = batch['logprobs'], batch['sequence_logprobs']
  if couples(case) != 'token':
    batch['advantages'] = batch['advantages'].copy()
    for _, places in SAMPLES:
      for place in places:
        batch['advantages'][place] = batch['advantages'][places[0]]
  return batch


@each_function
def test_on_policy_is_reinforce_where_declared(case):
  traits = case.function.declared.traits if case.traits is None else case.traits
  declared = 'on_policy_is_reinforce' in traits
  if 'logprobs' not in names_of(case) or per_sample(case):
    assert not declared
    return
  batch = on_policy(case)
  gradient = np.asarray(step(case, arrays_of(case, batch))[1]['logprobs'])
  assert np.allclose(gradient[MASK], -batch['advantages'][MASK], atol=1e-6) == declared


@each_function
def test_bfloat16_is_computed_in_float32(case):
  arrays = arrays_of(case)
  narrow = arrays | floats(arrays, jnp.bfloat16)
  loss, diagnostics = run(case, narrow)
  assert {x.dtype for x in (loss, *diagnostics.values())} <= {jnp.dtype('float32')}
  expected = run(case, narrow | floats(narrow, jnp.float32))[0]
  np.testing.assert_array_equal(np.asarray(loss)[counts(case)], np.asarray(expected)[counts(case)])


@each_function
def test_far_policies_give_finite_losses_and_gradients(case):
  arrays = arrays_of(case)
  logprobs = [n for n in arrays if n.endswith('logprobs')]
  for name in logprobs:
    for others in (0.0, -1e4):
      far = {n: np.full(arrays[n].shape, others, np.float32) for n in logprobs}
      far[name] = np.full(arrays[name].shape, -1e4 - others, np.float32)
      found = step(case, arrays | far)
      assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
