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
import importlib
import pkgutil

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import Case
from reference import batches

from rljax import losses, masking, regularizers
from rljax.binding import signature

DIFFERENTIATED = (
  *('logprobs', 'sequence_logprobs', 'new_values', 'scores', 'token_scores'),
  *('entropy', 'sum_squares', 'self_certainty', 'full_kl', 'full_forward_kl'),
  *('teacher_reverse_kl', 'teacher_forward_kl', 'teacher_jsd', 'teacher_top_k_kl'),
)
MAPS = {'segment_ids', 'sample_ids', 'sample_slots'}
ESTIMATORS = {'k1', 'k2', 'k3'}  # functions of d, not losses
SCOPES = ('token', 'sequence', 'group', 'batch')


def gather():
  """(cases of this suite by name, names of functions that are tested anywhere, own arrays)."""
  here, named, own = {}, set(), {}
  for info in pkgutil.iter_modules(cases.__path__):
    module = importlib.import_module(f'cases.{info.name}')
    own |= getattr(module, 'ARRAYS', {})
    named |= getattr(module, 'OTHERS', set())
    for name, case in getattr(module, 'CASES', {}).items():
      home = case.function.__module__ if isinstance(case, Case) else ''
      if home.startswith(('rljax.losses', 'rljax.regularizers')):
        named.add(case.function.__name__)
        if not hasattr(module, 'SUITE'):
          assert name not in here, f'two cases are called {name!r}'
          here[name] = case
  return here, named, own


CASES, NAMED, OWN_ARRAYS = gather()
BATCH = batches.packed(1)
BATCH |= {name: make(BATCH, np.random.default_rng(5)) for name, make in OWN_ARRAYS.items()}
MASK = BATCH['action_mask']
SAMPLES = list(batches.samples(BATCH))
SAMPLE_OF = {place: sample for sample, places in SAMPLES for place in places}

each_case = pytest.mark.parametrize('case', list(CASES.values()), ids=list(CASES))


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


def counts(case):
  """bool: the entries of the result that anyone makes use of."""
  return BATCH['sample_slots'] >= 0 if per_sample(case) else MASK


def as_gradients(case, gradient):
  if isinstance(gradient, dict):
    return gradient
  own = next((n for n in DIFFERENTIATED if n in names_of(case)), None)
  return {own: gradient} if own else {}


def gradient_of(case, arrays, weights):
  """∇ Σ weights·loss with respect to the float arrays, shielded as in the loss pass."""

  def total(x):
    return masking.weighted_sum(run(case, masking.shield({**arrays, **x}, MASK))[0], weights)

  return jax.value_and_grad(total)(floats(arrays))


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
    arrays = arrays_of(case)
    loss, diagnostics = run(case, arrays)
    _, gradient = gradient_of(case, arrays, jnp.asarray(cotangent))
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


@each_case
def test_masked_entries_have_no_influence(case):
  """Nor is there a scatter-add, which accelerators do not sum in one order."""
  arrays = arrays_of(case)
  weights = jnp.where(counts(case), 0.1, 0)
  step = jax.jit(functools.partial(gradient_of, case))
  assert 'scatter' not in str(step.trace(arrays, weights).jaxpr)
  expected = step(arrays, weights)
  for filler in (np.nan, np.inf, 1e30):
    dirty = {
      n: jnp.where(MASK, x, filler) if is_float(x) and x.shape == MASK.shape else x
      for n, x in arrays.items()
    }
    jax.tree.map(np.testing.assert_array_equal, step(dirty, weights), expected)
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


@each_case
def test_the_order_of_rows_does_not_matter(case):
  loss, found = run(case, arrays_of(case))[0], run(case, arrays_of(case, turned(BATCH)))[0]
  found = found if per_sample(case) else found[:, ::-1]
  compare = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  compare = np.testing.assert_array_equal if couples(case) == 'token' else compare
  compare(np.asarray(found)[counts(case)], np.asarray(loss)[counts(case)])


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


@each_case
def test_what_it_couples(case):
  chosen = [(s, p) for s, places in SAMPLES for p in places if MASK[p]][::2]
  arrays = floats(arrays_of(case), jnp.float32)

  def moved(x, place, index, amount):
    if x.ndim == 0:
      return jnp.broadcast_to(x, len(chosen))
    entries = place if x.ndim == 3 else index
    stack = jnp.broadcast_to(x, (len(chosen), *x.shape))
    return stack.at[(jnp.arange(len(chosen)), *entries)].add(amount)

  places = tuple(jnp.array(axis) for axis in zip(*(p for _, p in chosen), strict=True))
  index = (jnp.array([s for s, _ in chosen]),)
  # Different amounts: what cancels in a ratio would hide that it counts.
  stacks = {
    n: moved(x, places, index, 0.25 + 0.2 * i) for i, (n, x) in enumerate(arrays.items())
  }
  found = jax.jit(jax.vmap(lambda x: run(case, {**arrays_of(case), **x})[0]))
  loss = found({n: x[None] for n, x in arrays.items()})[0]
  changed = (np.abs(np.asarray(found(stacks)) - np.asarray(loss)) > 1e-6) & counts(case)
  scopes = [scope(case, c, s, p) for c, (s, p) in zip(changed, chosen, strict=True)]
  assert max(scopes, key=SCOPES.index) == couples(case)


@each_case
def test_hyper_parameters_may_be_traced_and_mapped(case):
  hyper = signature(case.function).hyper | case.hyper
  hyper = {n: v for n, v in hyper.items() if isinstance(v, float)}
  if not hyper:
    return
  arrays = arrays_of(case)
  expected = run(case, arrays, case.hyper | hyper)[0]
  two = {n: jnp.array([v, 2 * v], jnp.float32) for n, v in hyper.items()}
  found = jax.jit(jax.vmap(lambda h: run(case, arrays, case.hyper | h)[0]))(two)
  np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-6)


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


@each_case
def test_on_policy_is_reinforce_where_declared(case):
  traits = case.function.declared.traits if case.traits is None else case.traits
  declared = 'on_policy_is_reinforce' in traits
  if 'logprobs' not in names_of(case) or per_sample(case):
    assert not declared
    return
  batch = on_policy(case)
  gradient = gradient_of(case, arrays_of(case, batch), jnp.where(MASK, 1.0, 0))[1]['logprobs']
  assert np.allclose(gradient[MASK], -batch['advantages'][MASK], atol=1e-6) == declared


@each_case
def test_bfloat16_is_computed_in_float32(case):
  arrays = arrays_of(case)
  narrow = arrays | floats(arrays, jnp.bfloat16)
  loss, diagnostics = run(case, narrow)
  assert {x.dtype for x in (loss, *diagnostics.values())} <= {jnp.dtype('float32')}
  expected = run(case, narrow | floats(narrow, jnp.float32))[0]
  np.testing.assert_array_equal(np.asarray(loss)[counts(case)], np.asarray(expected)[counts(case)])


@each_case
def test_far_policies_give_finite_losses_and_gradients(case):
  arrays = arrays_of(case)
  logprobs = [n for n in arrays if n.endswith('logprobs')]
  for name in logprobs:
    for others in (0.0, -1e4):
      far = {n: jnp.full_like(arrays[n], others) for n in logprobs}
      far[name] = jnp.full_like(far[name], -1e4 - others)
      found = gradient_of(case, arrays | far, jnp.where(counts(case), 1.0, 0))
      assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(found))
