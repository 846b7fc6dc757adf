"""Parity with GRPOTrainer of TRL 1.16.0 (peers pinned, November 2026): values and gradients.

TRL's methods run on a trainer without a model, whose forward pass returns given log-probs, in
float64 (our weights are float32, hence the tolerance). A table of the same settings, loss type ×
level × extra, and a test of the exact size of each known difference:
- 'bnpo' and the entropy mask see one micro-batch, rljax the minibatch; 'dapo', 'cispo', 'vespo'
  divide by the mean number of tokens of a generation's steps, rljax by that of this step;
- samples without loss tokens count in TRL's means over samples;
- the entropy mask keeps 1 + ⌊ρ(N − 1)⌋ tokens, rljax ⌈ρN⌉; its entropies and OPSM's distance are of
  the present policy, in rljax of the one before the update;
- the unbiased KL has the ratio of the level, in rljax always the token's;
- what the sampler could not score has weight 1, and leaves the loss of rljax;
- VESPO's W has the bounded ratio to the sampler, in rljax the ratio itself.
At level 'sequence' CISPO, SAPO and δ have no function here: they are the token losses at the mean
log-ratio of the sample, where all its tokens weigh the same.
"""

import dataclasses
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import advantages, masking, selection
from rljax.binding import bind

torch = pytest.importorskip('torch', reason="needs torch: pip install '.[parity]'")
trl = pytest.importorskip('trl', reason="needs trl: pip install '.[parity]'")

B, C, BAND = 12, 8, dict(clip_low=0.2, clip_high=0.28)  # samples, slots of a completion
SETTINGS = {field.name: field.default for field in dataclasses.fields(trl.GRPOConfig)} | dict(
  epsilon_low=0.2, epsilon_high=0.28, max_completion_length=16, num_iterations=2, num_generations=4,
  gradient_accumulation_steps=1, steps_per_generation=1, current_gradient_accumulation_steps=1,
  aux_loss_enabled=False, _entropy_bonus_enabled=False, environment_factories=None, tools=None,
  environments=None, ref_model='', reward_weights=torch.ones(1), reward_func_names=['reward'],
  pad_to_multiple_of=None,
)  # fmt: skip


def grid():
  """All signs of A × samples below, in and above the band; numbers that float32 can hold."""
  rng = np.random.default_rng(46)
  far, advantage = (x.ravel() for x in np.meshgrid([-0.6, 0, 0.35, 1], [-1.3, 0, 0.7]))
  order, old = rng.permutation(B), -rng.uniform(1, 3, (B, C))
  now = old + far[order, None] + rng.normal(scale=0.3, size=(B, C))
  mismatch = rng.normal(scale=0.25, size=(B, 1)) + rng.normal(scale=0.2, size=(B, C))
  batch = dict(
    logprobs=now, old_logprobs=old, policy_logprobs=old + mismatch, advantages=advantage[order],
    ref_logprobs=now + rng.normal(scale=0.5, size=(B, C)), entropy=rng.uniform(0, 3, (B, C)),
  )  # fmt: skip
  batch = {name: x.astype(np.float32).astype(np.float64) for name, x in batch.items()}
  return batch | {'mask': np.arange(C) < np.append(C, rng.integers(4, C, B - 1))[:, None]}


def trainer(batch, **options):
  """A GRPOTrainer of one process without a model; its forward pass knows `batch`."""
  self, settings = trl.GRPOTrainer.__new__(trl.GRPOTrainer), {**SETTINGS, **options}
  for name in ('_compute_loss', '_generate_and_score_completions'):  # private: they may move
    if not hasattr(self, name):
      pytest.skip(f'GRPOTrainer of TRL {trl.__version__} has no {name}, which 1.16.0 has')
  idle = ('model', '_metrics', '_logs', '_pending_extra_logs', '_pending_metrics')
  vars(self).update({name: mock.MagicMock() for name in idle}, **settings)
  self.args, self._tokenizer = self, mock.Mock(pad_token_id=0)  # all options are attributes
  alone = dict.fromkeys(('gather', 'reduce', 'pad_across_processes'), lambda x, **_: x)
  self.accelerator = mock.Mock(num_processes=1, process_index=0, device='cpu', **alone)
  names = ('logprobs', 'old_logprobs', 'entropy')
  self.now, old, entropy = (torch.tensor(batch[n], requires_grad=n == names[0]) for n in names)
  self._get_per_token_logps_and_entropies = lambda *_, compute_entropy=False, **__: (
    (self.now if compute_entropy else old, entropy, None)  # in the loss, or before it
  )
  return self


def scored(batch, rewards, **options):
  """What TRL makes of completions and rewards [B]: advantages, weights of the correction."""
  self, mask = trainer(batch, **options), batch['mask']
  ids, sampler = ([[*x[m]] for x, m in zip(y, mask)] for y in (mask * 1, batch['policy_logprobs']))
  self._generate = lambda _: ([[1]] * B, ids, None, [''] * B, sampler, {}, None, None)
  self._calculate_rewards = lambda *_: torch.tensor(rewards[:, None])
  return self._generate_and_score_completions([{'prompt': ''} for _ in ids])


def theirs(batch, num_items=None, **options):
  """(loss, its gradient with respect to the log-probs) of TRL."""
  self = trainer(batch, **options)
  names = dict(old='old', ref='ref', sampling='policy').items()
  inputs = {f'{n}_per_token_logps': torch.tensor(batch[f'{own}_logprobs']) for n, own in names}
  masks = ('prompt_ids', 'prompt_mask', 'completion_ids', 'completion_mask')
  inputs |= dict.fromkeys(masks, torch.tensor(batch['mask'] * 1))
  inputs['num_items_in_batch'] = torch.tensor(num_items or batch['mask'].sum())
  inputs['advantages'] = torch.tensor(batch['advantages'])
  if self.use_vllm:
    inputs = scored(batch, np.zeros(B), **options) | inputs
  loss = self._compute_loss(None, inputs)
  return loss.item(), torch.autograd.grad(loss, self.now)[0].numpy()


def packed(batch):
  """Two samples in each of B/2 rows."""
  segments = np.where(batch['mask'], np.arange(len(batch['mask']))[:, None] % 2, -1)
  arrays = batch | dict(
    segment_ids=segments, action_mask=batch['mask'], sample_ids=np.arange(len(segments)),
    advantages=batch['advantages'][:, None] + 0 * segments, old_entropy=batch['entropy'],
  )  # fmt: skip
  return {name: jnp.asarray(x.reshape(len(segments) // 2, -1)) for name, x in arrays.items()}


def at_mean_ratio(known, name):
  """The arrays with the mean log-ratio of the sample in each token."""
  now, old, mask = (known[n].reshape(-1, C) for n in ('logprobs', 'old_logprobs', 'mask'))
  mean = jnp.repeat(jnp.sum(mask * (now - old), 1) / jnp.sum(mask, 1), C).reshape(-1, 2 * C)
  if name == 'cispo':  # −A·ℓ stays that of the token
    return known | {'old_logprobs': known['logprobs'] - mean}
  return known | {'logprobs': known['old_logprobs'] + mean}


def ours(stage, batch, before=None, mean_ratio=False, sampler='old_logprobs'):
  """(loss, its gradient) of a stage; `before` is what selection and correction see."""
  with jax.enable_x64(True):
    known, early = packed(batch), packed(before or batch)
    known['policy_logprobs'] = known[sampler]  # VESPO's W; no other loss asks for it
    weights, factor, counted = bind(stage['weights']), early['mask'] * 1.0, early['mask']
    for name in {'selection', 'correction'} & set(stage):
      kept, still = bind(stage[name])(early)
      factor, counted = factor * kept, counted & still
    weights, full = factor * weights(early | {'action_mask': counted}), weights(early)

    def total(logprobs):
      arrays, loss = known | {'logprobs': logprobs}, bind(stage['loss'])
      value, _ = loss(at_mean_ratio(arrays, loss.name) if mean_ratio else arrays)
      kl = bind(stage['kl'])(arrays)[0] if stage.get('kl') else 0.0
      return masking.weighted_sum(value, weights) + 0.1 * masking.weighted_sum(kl, full)

    loss, gradient = jax.value_and_grad(total)(known['logprobs'])
    return float(loss), np.asarray(gradient).reshape(-1, C)


def same(found, expected, factor=1.0):
  assert np.abs(expected[1]).max() > 1e-4  # there is something to compare
  for a, b in zip(found, expected):
    np.testing.assert_allclose(a, factor * np.asarray(b), rtol=2e-6, atol=1e-9)


PPO, GSPO = (dict(name=f'losses.{name}', **BAND) for name in ('clipped_surrogate', 'gspo'))
MEAN, SAMPLE_MEAN = (dict(name=f'weighting.{x}') for x in ('token_mean', 'seq_mean_token_mean'))
TYPES = {  # TRL's loss type: the loss, its weights
  'grpo': (PPO, SAMPLE_MEAN),
  'dr_grpo': (PPO, dict(name='weighting.fixed_length', max_completion_length=16)),
  **dict.fromkeys(('bnpo', 'dapo'), (PPO, MEAN)),
  'luspo': (PPO, dict(name='weighting.seq_mean_token_sum')),
  'cispo': (dict(name='losses.cispo', clip_high=1.4), MEAN),  # the bound itself, with both
  'sapo': (dict(name='losses.sapo'), SAMPLE_MEAN),
  'vespo': (dict(name='losses.vespo'), MEAN),
}
FORWARD, RATIO = (dict(name=f'regularizers.{name}') for name in ('forward_k3', 'ratio_k3'))
HIGH_ENTROPY = dict(name='selection.high_entropy', fraction=0.25, denominator='all')
OPSM = dict(name='selection.opsm', max_divergence=0.3, denominator='all')
WITH = {  # TRL's options, what they are in a stage of rljax
  'nothing': ({}, {}),
  'kl': (dict(beta=0.1, use_bias_correction_kl=False), {'kl': FORWARD}),
  'unbiased_kl': (dict(beta=0.1), {'kl': RATIO}),
  'delta': (dict(delta=1.6), {'loss': {**PPO, 'dual_clip': 1.6}}),
  'entropy_mask': (dict(top_entropy_quantile=0.25), {'selection': HIGH_ENTROPY}),
  'opsm': (dict(off_policy_mask_threshold=0.3), {'selection': OPSM}),
}


def corrected(mode, low, high):
  options = {'mode': mode, 'clip_min': low, 'clip_max': high}
  options = {f'vllm_importance_sampling_{name}': x for name, x in options.items()}
  bounds = {'max_weight': high} | ({'min_weight': low} if low else {})
  return {'use_vllm': True, **options}, {'correction': dict(name=f'corrections.{mode}', **bounds)}


WITH |= {mode: corrected(mode, 0.8, 1.2) for mode in ('token_truncate', 'token_mask')}
WITH['sequence_truncate'] = corrected('sequence_truncate', None, 3.0)
WITH['sequence_mask'] = corrected('sequence_mask', 0.3, 3.0)
WITH['all'] = tuple(WITH['kl'][i] | WITH['entropy_mask'][i] | WITH['token_mask'][i] for i in (0, 1))
EVEN = ('nothing', 'kl', 'opsm', 'sequence_truncate', 'sequence_mask')  # within a sample
CASES = [  # those that both have
  *((t, 'token', x) for t in [*TYPES][:7] for x in WITH if x != 'delta' or TYPES[t][0] is PPO),
  *(('vespo', 'token', x) for x in ('nothing', 'kl', 'unbiased_kl', 'entropy_mask', 'opsm')),
  *((t, 'sequence', x) for t in [*TYPES][:5] for x in WITH if x != 'unbiased_kl'),
  *((t, 'sequence', x) for t in ('cispo', 'sapo') for x in EVEN),
]


def settings(loss_type, level='token', extra='nothing'):
  loss, weights = TYPES[loss_type]
  options = {'epsilon_high': loss.get('clip_high', 0.28), 'importance_sampling_level': level}
  options |= {'loss_type': loss_type, **WITH[extra][0]}
  loss = GSPO if loss is PPO and level == 'sequence' else loss
  return options, {'loss': loss, 'weights': weights, **WITH[extra][1]}


@pytest.mark.parametrize('case', CASES, ids='-'.join)
def test_same_settings(case):
  batch, (options, stage), is_opsm = grid(), settings(*case), case[2] == 'opsm'
  # OPSM looks at the present policy, where rljax sees the one before the update.
  before = batch | {'old_logprobs': batch['logprobs']} if is_opsm else batch
  found, mean_ratio = theirs(batch, **options), case[1] == 'sequence' and stage['loss'] != GSPO
  same(found, ours(stage, batch, before, mean_ratio))
  assert not is_opsm or abs(found[0] - ours(stage, batch, batch, mean_ratio)[0]) > 1e-4


def test_the_grid_reaches_every_case():
  batch = grid()
  mask, sign = batch['mask'], np.sign(batch['advantages'])
  now, old, sampler = (batch[f'{n}logprobs'] * mask for n in ('', 'old_', 'policy_'))
  mean = (now - old).sum(1, keepdims=True) / mask.sum(1, keepdims=True)
  for ratio, where in ((np.exp(now - old), mask), (np.exp(mean), mask[:, :1])):
    assert np.abs(ratio[where][:, None] - [0.8, 1.28, 1.4, 1.6]).min() > 1e-4
    for s in (-1, 0, 1):
      assert {*np.digitize(ratio[where & (sign == s)[:, None]], [0.8, 1.28, 1.6])} >= {0, 1, 3}
  for weight, bounds in (((old - sampler)[mask], [0.8, 1.2]), ((old - sampler).sum(1), [0.3, 3])):
    assert {*np.digitize(np.exp(weight), bounds)} == {0, 1, 2}


@pytest.mark.parametrize('extra', ['kl', 'entropy_mask'])
@pytest.mark.parametrize('loss_type', TYPES)
def test_denominators(loss_type, extra):
  """Micro-batches of a step, steps of a generation, samples without tokens (truncated ones)."""
  batch, (options, stage), found = grid(), settings(loss_type, 'token', extra), []
  batch['entropy'][: B // 2] += 1  # the halves have different thresholds
  total, by_tokens = batch['mask'].sum(), loss_type in ('dapo', 'cispo', 'vespo')
  for half in ({n: x[at] for n, x in batch.items()} for at in np.split(np.arange(B), 2)):
    share, own = half['mask'].sum() / total if by_tokens else 0.5, ours(stage, half)
    steps = options | {'steps_per_generation': 2}
    found.append(theirs(half, total, **steps, current_gradient_accumulation_steps=2))
    same(found[-1], own, share)
    same(theirs(half, total, **steps), own, 2 * share)
  (value, gradient), whole = zip(*found), ours(stage, batch)
  if extra == 'kl' and loss_type != 'bnpo':
    same((sum(value), np.concatenate(gradient)), whole)
  else:
    assert np.abs(np.concatenate(gradient) - whole[1]).max() > 1e-4
  batch['mask'][:3] = False
  same(theirs(batch, **options), ours(stage, batch), 1 if stage['weights'] is MEAN else 0.75)


@pytest.mark.parametrize(('number', 'fewer'), [(64, 1), (65, 0), (66, 0), (67, 1)])
def test_size_of_the_entropy_mask(number, fewer):
  entropy = np.random.default_rng(0).permutation(number).astype(np.float32)[None]
  mask, segments = np.ones((1, number), bool), np.zeros((1, number), int)
  them = trainer(grid()).get_high_entropy_mask(*map(torch.tensor, (entropy, mask)), 0.7)
  found, _ = selection.high_entropy(entropy, mask, segments, fraction=0.3)
  assert found.sum() == np.ceil(0.3 * number)
  assert them.sum() == 1 + np.floor(0.3 * (number - 1)) == found.sum() - fewer


def test_unbiased_kl_of_sequences():
  """TRL: β·s·k3, s = exp(mean_t(ℓ − ℓ°)); rljax: β·r_t·k3 at any level of the loss."""
  batch, (options, stage) = grid(), settings('grpo', 'sequence', 'unbiased_kl')
  now, old, ref = (batch[f'{name}logprobs'] for name in ('', 'old_', 'ref_'))
  share = batch['mask'] / batch['mask'].sum(1, keepdims=True)
  s = np.exp(np.sum(share * (now - old), 1, keepdims=True))
  kl = np.sum(share * (np.exp(ref - now) - 1 - ref + now), 1, keepdims=True)
  slope = s * share * (1 - np.exp(ref - now) + kl)
  found, plain = theirs(batch, **options), ours({**stage, 'kl': None}, batch)
  same(found, [plain[0] + 0.1 * np.mean(s * kl), plain[1] + 0.1 * slope / B])
  assert np.abs(found[1] - ours(stage, batch)[1]).max() > 1e-4


def test_tokens_that_the_sampler_did_not_score():
  batch, (options, stage) = grid(), settings('dapo', 'token', 'token_mask')
  last, sampler = (np.arange(1, B), batch['mask'][1:].sum(1) - 1), 'policy_logprobs'
  unscored, as_one, out = (batch | {n: batch[n].copy()} for n in (sampler, sampler, 'mask'))
  unscored[sampler][last], out['mask'][last] = np.nan, False
  as_one[sampler][last] = batch['old_logprobs'][last]
  same(theirs(unscored, **options), ours(stage, as_one))
  same(theirs(out, **options), ours(stage, unscored))


@pytest.mark.parametrize(('low', 'high'), [(0.6, 1.6), (1e-6, 1e6)])
@pytest.mark.parametrize('mode', ['token_truncate', 'token_mask'])
def test_vespo_of_a_sampler(mode, low, high):
  """With bounds of no effect both are the same; a masked token has the factor 1e-8 in TRL's W."""
  batch, (options, stage) = grid(), settings('vespo')
  weight = np.exp(batch['old_logprobs'] - batch['policy_logprobs'])
  masked = np.where((weight >= low) & (weight <= high), weight, 1e-8)
  bounded = np.clip(weight, low, high) if mode == 'token_truncate' else masked
  batch['bounded'] = batch['old_logprobs'] - np.log(bounded)
  found = theirs(batch, **options, **corrected(mode, low, high)[0])
  same(found, ours(stage, batch, sampler='bounded'))
  assert np.allclose(found[1], ours(stage, batch, sampler='policy_logprobs')[1]) == (low < 0.1)


@pytest.mark.parametrize('scale', ['group', 'batch', 'none'])
def test_advantages(scale):
  """An unscorable sample, a group of equal rewards, a group with one scored sample; ε is TRL's."""
  rewards, groups = np.random.default_rng(0).normal(size=B), np.arange(B) // 4
  rewards[1] = rewards[9:] = np.nan
  rewards[4:8] = 0.1
  expected = scored(grid(), rewards, scale_rewards=scale)['advantages']
  with jax.enable_x64(True):
    found = advantages.group_normalize(rewards, groups, scale=scale, epsilon=1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert np.all(found[4:] == 0) and np.abs(found[:4]).max() > 0.1
