"""Parity with TRL's preference and reward trainers: losses of single pairs, and gradients.

Pinned in November 2026: trl 1.16.0, transformers 5.23.0, torch 2.13.0. Their loss methods are
private and take a trainer and a model; `theirs` calls them with stand-ins, and skips where a method
has moved. Where TRL is known to differ the test shows by how much.
"""

import collections
import importlib
import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import losses
from rljax.binding import signature

os.environ.setdefault('TRL_EXPERIMENTAL_SILENCE', '1')
torch = pytest.importorskip('torch', reason="needs torch: pip install '.[parity]'")
trl = pytest.importorskip('trl', reason="needs trl: pip install '.[parity]'")

RATIOS = (-9.0, -2.5, -0.4, 0.0, 0.3, 2.0, 7.0)
PROMPT, COMPLETION = 2, 6  # slots


def theirs(trainer, method, settings, *arguments):
  """The only call of a private method: `trainer` is 'module.Class' under trl."""
  module, name = trainer.rsplit('.', 1)
  try:
    function = getattr(getattr(importlib.import_module(f'trl.{module}'), name), method)
  except (ImportError, AttributeError) as error:
    pytest.skip(f'trl {trl.__version__} has no {trainer}.{method}: {error}')
  same = types.SimpleNamespace(
    device=torch.device('cpu'), gather=lambda x: x, gather_for_metrics=lambda x: x
  )
  shared = dict(
    accelerator=same,
    aux_loss_enabled=False,
    _metrics={'train': collections.defaultdict(list)},
    _total_train_tokens=0,
    _tp_size=1,
    label_smoothing=0.0,
  )
  return function(types.SimpleNamespace(**{**shared, **settings}), *arguments)


class Pairs:
  """Chosen samples first, then rejected ones; per-token log-probs on ragged completions."""

  def __init__(self, h_w, h_l, lengths=None):
    rng, n = np.random.default_rng(0), len(h_w)
    self.lengths = rng.integers(1, COMPLETION + 1, 2 * n) if lengths is None else np.array(lengths)
    self.mask = np.arange(COMPLETION) < self.lengths[:, None]
    l = -rng.uniform(0.05, 1.5, self.mask.shape)
    share = rng.uniform(0.5, 1.5, self.mask.shape) * self.mask
    share /= share.sum(1, keepdims=True)
    self.l = (l * self.mask).astype(np.float32)
    self.ref = ((l - share * np.concatenate([h_w, h_l])[:, None]) * self.mask).astype(np.float32)
    self.squares = (rng.uniform(0.2, 0.9, self.mask.shape)).astype(np.float32)
    self.group_ids = np.tile(np.arange(n, dtype=np.int32), 2)
    self.rewards = np.repeat([1.0, 0.0], n).astype(np.float32)

  def one(self, i):
    """The pair i alone."""
    n, out = len(self.l) // 2, object.__new__(Pairs)
    out.__dict__ = {name: x[[i, i + n]] for name, x in self.__dict__.items()}
    return out


GRID = Pairs(*(x.ravel() for x in np.meshgrid(RATIOS, RATIOS)))


def dpo_trainer(pairs, loss_type, *, beta=0.1, **settings):
  """(mean loss, its gradient with respect to the log-probs of the tokens)."""
  l = torch.tensor(pairs.l, requires_grad=True)

  def model(values):
    zero = torch.zeros((len(pairs.l), PROMPT - 1))

    def run(**_):
      padded = torch.cat([zero, values], 1)
      same = dict.fromkeys(('entropy', 'mean_logits', 'is_top1'), torch.zeros(padded.shape).bool())
      squares = torch.cat([zero, torch.log(torch.tensor(pairs.squares))], 1)
      return types.SimpleNamespace(log_probs=padded, log_sum_sq_probs=squares, **same)

    return Model(run)

  mask = np.concatenate([np.zeros((len(pairs.l), PROMPT), int), pairs.mask], 1)
  inputs = dict(
    input_ids=torch.zeros(mask.shape, dtype=torch.long),
    attention_mask=torch.ones(mask.shape),
    completion_mask=torch.tensor(mask.astype(int)),
  )
  defaults = dict(
    loss_types=[loss_type] if isinstance(loss_type, str) else loss_type,
    loss_weights=[1.0] * (1 if isinstance(loss_type, str) else len(loss_type)),
    beta=beta,
    ld_alpha=None,
    precompute_ref_logps=False,
    model=model(l),
    ref_model=model(torch.tensor(pairs.ref)),
    f_divergence_type='reverse_kl',
    f_alpha_divergence_coef=0.5,
    use_weighting=False,
    args=types.SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
  )
  settings = {**defaults, **settings}
  method = ('trainer.dpo_trainer.DPOTrainer', '_compute_loss')
  loss = theirs(*method, settings, settings['model'], inputs, False)
  slope = torch.autograd.grad(loss, l)[0].numpy()
  return loss.item(), np.where(pairs.mask, slope, 0)


class Model:
  """What a trainer sees of a model."""

  training, is_gradient_checkpointing = True, False

  def __init__(self, run):
    self.run = run

  def __call__(self, **inputs):
    return self.run(**inputs)


def own_arrays(name, pairs, l):
  rows, slots = np.arange(len(pairs.l), dtype=np.int32), np.zeros(pairs.mask.shape, np.int32)
  known = dict(
    logprobs=l,
    ref_logprobs=pairs.ref,
    sum_squares=pairs.squares,
    action_mask=pairs.mask,
    segment_ids=np.where(pairs.mask, slots, -1),
    sample_ids=rows[:, None],
    sample_slots=rows,
    sequence_logprobs=jnp.sum(l, axis=1),
    sequence_ref_logprobs=pairs.ref.sum(1),
    completion_length=pairs.lengths.astype(np.float32),
    rewards=pairs.rewards,
    group_ids=pairs.group_ids,
  )
  found = signature(getattr(losses, name))
  wanted = (*found.arrays, *(n for n in found.optional if n == 'completion_length'))
  return {n: jnp.asarray(known[n]) for n in wanted}


def ours(name, pairs, **hyper):
  """(loss of each pair, gradient of their mean with respect to the log-probs of the tokens)."""

  def loss(l):
    return getattr(losses, name)(**own_arrays(name, pairs, l), **hyper)[0]

  l, n = jnp.asarray(pairs.l), len(pairs.l) // 2
  gradient = jax.jit(jax.grad(lambda l: jnp.sum(loss(l)) / n))(l)
  return np.asarray(jax.jit(loss)(l))[:n], np.where(pairs.mask, gradient, 0)


def close(found, expected, tolerance=2e-5):
  np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


PARITY = {
  'sigmoid': ('dpo', 'sigmoid', {}, {}),
  'forward_kl': (
    *('dpo', 'sigmoid'),
    *({'f_divergence': 'forward_kl'}, {'f_divergence_type': 'forward_kl'}),
  ),
  'js': ('dpo', 'sigmoid', {'f_divergence': 'js'}, {'f_divergence_type': 'js_divergence'}),
  'alpha': ('dpo', 'sigmoid', {'f_divergence': 'alpha'}, {'f_divergence_type': 'alpha_divergence'}),
  'alpha 1': (
    *('dpo', 'sigmoid', {'f_divergence': 'alpha', 'alpha': 1.0}),
    {'f_divergence_type': 'alpha_divergence', 'f_alpha_divergence_coef': 1.0},
  ),
  'sigmoid_norm': ('dpo', 'sigmoid_norm', {'length_normalize': True}, {}),
  'hinge': ('slic', 'hinge', {}, {}),
  'ipo': ('ipo', 'ipo', {}, {}),
  'exo_pair': (
    'exo', 'exo_pair', {'label_smoothing': 1e-3}, {'label_smoothing': 1e-3}
  ),
  'nca_pair': ('nca', 'nca_pair', {}, {}),
  'robust': ('robust_dpo', 'robust', {'label_smoothing': 0.1}, {'label_smoothing': 0.1}),
  'bco_pair': ('bco_pair', 'bco_pair', {}, {}),
  'sppo_hard': ('sppo_hard', 'sppo_hard', {}, {}),
  'apo_zero': ('apo_zero', 'apo_zero', {}, {}),
  'apo_down': ('apo_down', 'apo_down', {}, {}),
  'discopop': ('discopop', 'discopop', {}, {}),
  'wpo': ('wpo', 'sigmoid', {}, {'use_weighting': True}),
  'ld_dpo': ('ld_dpo', 'sigmoid', {'alpha': 0.3}, {'ld_alpha': 0.3}),
}  # fmt: skip


@pytest.mark.parametrize('beta', [0.1, 0.9])
@pytest.mark.parametrize(
  ('name', 'loss_type', 'hyper', 'settings'), list(PARITY.values()), ids=list(PARITY)
)
def test_dpo_family(name, loss_type, hyper, settings, beta):
  found, gradient = ours(name, GRID, beta=beta, **hyper)
  mean, slope = dpo_trainer(GRID, loss_type, beta=beta, **settings)
  assert found.mean() == pytest.approx(mean, rel=2e-5)
  size = np.abs(slope).max()
  np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=2e-6 * max(1, size))
  for i in range(0, len(found), 3):
    single, _ = dpo_trainer(GRID.one(i), loss_type, beta=beta, **settings)
    assert found[i] == pytest.approx(single, rel=1e-4, abs=2e-5)


@pytest.mark.parametrize('loss_type', ['aot', 'aot_unpaired'])
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_aot(loss_type, smoothing):
  rng = np.random.default_rng(1)  # no ties: they may be broken either way
  pairs = Pairs(*rng.normal(0, 4, (2, 12)))
  found, gradient = ours(loss_type, pairs, label_smoothing=smoothing)
  mean, slope = dpo_trainer(pairs, loss_type, label_smoothing=smoothing)
  assert found.mean() == pytest.approx(mean, rel=1e-5)
  close(gradient, slope)


def test_label_smoothing_of_dpo_is_that_of_a_batch_of_one_in_aot():
  """TRL 1.16.0 has no conservative DPO: its 'sigmoid' takes no notice of label_smoothing."""
  pair = GRID.one(4)  # h_w = 0.3, h_l = −9
  found, gradient = ours('dpo', pair, label_smoothing=0.1)
  loss, slope = dpo_trainer(pair, 'aot', label_smoothing=0.1)
  assert found[0] == pytest.approx(loss, rel=1e-5)
  close(gradient, slope)
  ignored, _ = dpo_trainer(pair, 'sigmoid', label_smoothing=0.1)
  assert ignored == pytest.approx(-np.log(1 / (1 + np.exp(-0.93))), rel=1e-5)
  assert found[0] == pytest.approx(ignored + 0.1 * 0.93, rel=1e-5)


def test_discopop_far_from_the_reference():
  """TRL's product of e^{−z} and the blend is inf · 0 from z = −89 on."""
  pair = Pairs([-60.0], [60.0])
  assert np.isnan(dpo_trainer(pair, 'discopop', beta=1.0)[0])
  found, gradient = ours('discopop', pair, beta=1.0)
  assert found[0] == pytest.approx(120.0, rel=1e-5)
  close(gradient, np.where(pair.mask, [[-1.0], [1.0]], 0))


def test_exponents_are_bounded_earlier():
  """At 20, TRL's at 80 (alpha) or not at all (forward KL)."""
  pair = Pairs([-30.0], [0.0])
  found, _ = ours('dpo', pair, f_divergence='forward_kl')
  assert found[0] == pytest.approx(0.1 * (np.exp(20) - 1), rel=1e-5)
  loss, _ = dpo_trainer(pair, 'sigmoid', f_divergence_type='forward_kl')
  assert loss == pytest.approx(0.1 * (np.exp(30) - 1), rel=1e-4)
  settings = {'f_divergence_type': 'alpha_divergence', 'f_alpha_divergence_coef': 2.0}
  found, _ = ours('dpo', Pairs([0.0], [30.0]), f_divergence='alpha', alpha=2.0)
  assert found[0] == pytest.approx(0.1 * (np.exp(20) - 1), rel=1e-5)
  loss, _ = dpo_trainer(Pairs([0.0], [30.0]), 'sigmoid', **settings)
  assert loss == pytest.approx(0.1 * (np.exp(30) - 1), rel=1e-4)


def test_the_likelihood_of_irpo():
  """TRL averages over all chosen tokens of the batch, ours over those of each sample."""
  for i in (0, 11, 30):
    mean, slope = dpo_trainer(GRID.one(i), ['sigmoid', 'sft'])
    found, gradient = ours('irpo', GRID.one(i))
    assert found[0] == pytest.approx(mean, rel=1e-5)
    close(gradient, slope)
  pairs = Pairs([0.0, 0.0], [0.0, 0.0], lengths=[1, 3, 2, 2])
  nll = -pairs.l[:2].sum(1)
  mean, _ = dpo_trainer(pairs, ['sigmoid', 'sft'])
  assert mean == pytest.approx(np.log(2) + nll.sum() / 4, rel=1e-5)
  found, _ = ours('irpo', pairs)
  close(found, np.log(2) + nll / [1, 3])


# -- the other trainers


@pytest.mark.parametrize('loss_type', ['kto', 'apo_zero_unpaired'])
@pytest.mark.parametrize('mismatch', [3.0, -3.0])  # KL is at least 0
def test_kto(loss_type, mismatch):
  rng, n = np.random.default_rng(2), 10
  h, good = rng.normal(0, 4, n).astype(np.float32), np.arange(n) % 3 > 0
  other = (mismatch + rng.normal(0, 0.5, 4)).astype(np.float32)
  weights = {'desirable_weight': 1.2, 'undesirable_weight': 0.7}

  sums = torch.tensor(h, requires_grad=True)
  zero = torch.zeros((n, 1))
  outputs = types.SimpleNamespace(log_probs=sums[:, None], entropy=zero, mean_logits=zero)
  batch = dict(
    label=torch.tensor(good),
    completion_mask=torch.tensor([[0, 1]]).repeat(n, 1),
    input_ids=torch.zeros((n, 2), dtype=torch.long),
    attention_mask=torch.ones((n, 2)),
    ref_logps=torch.zeros(n),
    ref_KL_logps=torch.zeros(4),
  )
  settings = dict(
    **weights,
    beta=0.3,
    loss_type=loss_type,
    calculate_KL=loss_type == 'kto',
    precompute_ref_logps=True,
    _compute_kl_logps=lambda *_: torch.tensor(other),
    model=Model(lambda **_: outputs),
  )
  method = ('trainer.kto_trainer.KTOTrainer', '_compute_loss')
  expected = theirs(*method, settings, settings['model'], batch, False)
  slope = torch.autograd.grad(expected, sums)[0].numpy()

  def loss(x):
    arrays = dict(
      sequence_logprobs=jnp.concatenate([x, jnp.asarray(other)]),
      sequence_ref_logprobs=jnp.zeros(n + 4),
      rewards=jnp.concatenate([jnp.where(good, 1.0, -1.0), jnp.zeros(4)]),
      group_ids=jnp.arange(n + 4, dtype=jnp.int32),
    )
    if loss_type == 'kto':
      arrays['is_mismatched'] = jnp.arange(n + 4) >= n
    return jnp.sum(getattr(losses, loss_type)(**arrays, beta=0.3, **weights)[0]) / n

  found, gradient = jax.value_and_grad(loss)(jnp.asarray(h))
  assert found == pytest.approx(expected.item(), rel=1e-5)
  close(gradient, slope)


@pytest.mark.parametrize(
  ('name', 'hyper', 'settings'),
  [
    ('simpo', {'beta': 2.5, 'margin': 1.375}, {'simpo_gamma': 1.375}),
    ('simpo', {'beta': 2.5, 'margin': 0.5, 'label_smoothing': 0.1}, {'label_smoothing': 0.1}),
    ('alpha_po', {'beta': 2.5, 'margin': 0.5, 'alpha': 0.25}, {'alpha': 0.25}),
    ('alpha_po', {'beta': 2.5, 'margin': 0.5, 'alpha': -0.5}, {'alpha': -0.5}),
    (
      'cpo', {'beta': 2.5, 'nll_coef': 0.0, 'label_smoothing': 0.1},
      {'loss_type': 'sigmoid', 'label_smoothing': 0.1},
    ),
  ],
)  # fmt: skip
def test_without_a_reference(name, hyper, settings):
  """The likelihood term of CPO is as that of IRPO: TRL averages it over the batch's tokens."""
  defaults = dict(alpha=0.0, beta=2.5, loss_type='simpo', simpo_gamma=0.5)
  sums = GRID.l.sum(1)
  values = torch.tensor(sums if name == 'cpo' else sums / GRID.lengths, requires_grad=True)
  method = ('experimental.cpo.cpo_trainer.CPOTrainer', 'cpo_loss')
  expected, *_ = theirs(*method, {**defaults, **settings}, *values.chunk(2))
  slope = torch.autograd.grad(expected.mean(), values)[0].numpy()
  slope = slope if name == 'cpo' else slope / GRID.lengths
  found, gradient = ours(name, GRID, **hyper)
  close(found, expected.detach().numpy())
  close(gradient, np.where(GRID.mask, slope[:, None], 0))


def test_orpo():
  """The odds; TRL's likelihood term beside them is of prompt and completion."""
  values = torch.tensor(GRID.l.sum(1) / GRID.lengths, dtype=torch.float32)
  method = ('experimental.orpo.orpo_trainer.ORPOTrainer', 'odds_ratio_loss')
  gain = theirs(*method, {'beta': 0.3}, *values.chunk(2))[0].numpy()
  found, _ = ours('orpo', GRID, beta=0.3)
  close(found, -GRID.l.sum(1)[:49] / GRID.lengths[:49] - gain)
  # A rejected token of probability 1 has infinite odds there; ours stop at 1 − p = 1e-6.
  assert theirs(*method, {'beta': 0.3}, torch.tensor([-1.0]), torch.zeros(1))[0].item() == -np.inf
  pair = Pairs([0.0], [0.0], lengths=[1, 1])
  pair.l[:] = np.where(pair.mask, [[-1.0], [0.0]], 0)
  found, gradient = ours('orpo', pair, beta=0.3)
  odds = -1 - np.log(1 - np.exp(-1)) + np.log(1e-6)
  assert found[0] == pytest.approx(1 - 0.3 * odds, rel=1e-5)
  assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize('kind', ['sigmoid', 'hinge', 'ipo', 'tpo-l'])
def test_tpo(kind):
  """One triple at a time: gold is the group's best sample."""
  rng = np.random.default_rng(4)
  for _ in range(3):
    lengths = rng.integers(1, COMPLETION + 1, 3)  # chosen, rejected, gold
    mask = np.arange(COMPLETION) < lengths[:, None]
    l = torch.tensor(-rng.uniform(0.1, 2, mask.shape), dtype=torch.float32, requires_grad=True)
    # Two tokens, of which 0 is drawn; entry 0 of the completion predicts nothing.
    logits = torch.stack([l, torch.log(-torch.expm1(l))], -1)
    logits = torch.cat([logits, torch.zeros((3, 1, 2))], 1)
    inputs = dict(
      input_ids=torch.zeros((3, COMPLETION + 1), dtype=torch.long),
      attention_mask=torch.ones((3, COMPLETION + 1)),
      completion_mask=torch.tensor(np.concatenate([np.zeros((3, 1)), mask], 1).astype(int)),
    )
    model = Model(lambda logits=logits, **_: types.SimpleNamespace(logits=logits))
    hyper = dict(beta=0.3, tpo_alpha=0.5, tpo_l_gamma=0.4, loss_type=kind, model=model)
    method = ('experimental.tpo.tpo_trainer.TPOTrainer', '_compute_loss')
    expected = theirs(*method, hyper, model, inputs, False)
    slope = torch.autograd.grad(expected, l)[0].numpy()

    def loss(l, mask=mask, lengths=lengths):
      sums = jnp.sum(jnp.where(mask, l, 0), axis=1)
      rewards, group = jnp.array([0.5, 0.0, 1.0]), jnp.zeros(3, jnp.int32)
      length = jnp.asarray(lengths, jnp.float32)
      settings = dict(pair=kind, beta=0.3, nll_coef=0.5, margin=0.4)
      return jnp.sum(losses.tpo(sums, length, rewards, group, **settings)[0])

    found, gradient = jax.value_and_grad(loss)(jnp.asarray(l.detach().numpy()))
    assert found == pytest.approx(expected.item(), rel=1e-5)
    close(gradient, slope)


@pytest.mark.parametrize('center', [None, 0.01])
@pytest.mark.parametrize('margin', [None, 0.7])
def test_reward_model(center, margin):
  rng, n = np.random.default_rng(5), 7
  scores = torch.tensor(rng.normal(0, 2, 2 * n), dtype=torch.float32, requires_grad=True)
  inputs = {'attention_mask': torch.ones((2 * n, 3))}
  margins = rng.uniform(0, 1, n).astype(np.float32) if margin else None
  if margin:
    inputs['margin'] = torch.tensor(margins)

  def run(margin=None, **_):
    return types.SimpleNamespace(logits=scores[:, None])

  settings = {'args': types.SimpleNamespace(center_rewards_coefficient=center)}
  settings['model'] = Model(run)
  method = ('trainer.reward_trainer.RewardTrainer', 'compute_loss')
  expected = theirs(*method, settings, settings['model'], inputs)
  slope = torch.autograd.grad(expected, scores)[0].numpy()

  def loss(x):
    groups = jnp.tile(jnp.arange(n, dtype=jnp.int32), 2)
    more = {} if margins is None else {'margins': jnp.concatenate([margins, jnp.zeros(n)])}
    rewards = jnp.repeat(jnp.array([1.0, 0.0]), n)
    result = losses.bradley_terry(x, rewards, groups, **more, center_coef=center or 0.0)
    return jnp.sum(result[0]) / n

  found, gradient = jax.value_and_grad(loss)(jnp.asarray(scores.detach().numpy()))
  assert found == pytest.approx(expected.item(), rel=1e-5)
  close(gradient, slope)


def test_steps_are_a_classification_of_two_classes():
  """TRL 1.16.0 has no trainer of process rewards; its loss was the cross-entropy of tokens."""
  rng = np.random.default_rng(6)
  logits = rng.normal(0, 2, (3, 8, 2)).astype(np.float32)
  labels = rng.choice([-100, 0, 1], (3, 8))
  expected = torch.nn.functional.cross_entropy(
    torch.tensor(logits).reshape(-1, 2), torch.tensor(labels).reshape(-1), reduction='none'
  ).reshape(3, 8)
  found, _ = losses.step_cross_entropy(
    jnp.asarray(logits[..., 1] - logits[..., 0]),
    jnp.asarray(labels, jnp.int32),
    jnp.zeros((3, 8), jnp.int32),
  )
  close(found, expected.numpy())
