"""A prompt that stands in a row once, followed by the completions of its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rollouts import random_rollout
from tiny_updates import GRPO, PPO, assert_equal_gradients, packed_batch, programs

from rljax import arrays
from rljax.data import bins
from rljax.data.packing import make_layout, pack, shared_fraction
from rljax.stages.stage import check_prefixes

PROMPT_LENGTHS = (1, 6, 9, 2, 8, 4)  # tokens, by group; the first has nothing to share
GSPO = {**GRPO, 'loss': dict(name='losses.gspo'), 'epochs': 2}
SIZES = dict(rows=2, row_length=36, packed=True)


def rollout_of_groups(seed=0):
  """(rollout whose groups have a prompt each, rewards)."""
  rollout, rewards = random_rollout(seed)
  rng = np.random.default_rng(seed)
  prompt_length = np.array(PROMPT_LENGTHS, np.int32)[rollout.group_ids]
  num_tokens = prompt_length + rng.integers(1, 12, len(rewards)).astype(np.int32)
  slots = np.arange(rollout.tokens.shape[1])[None, :]
  mask, prompt = slots < num_tokens[:, None], slots < prompt_length[:, None]
  prompts = rng.integers(0, 13, (len(PROMPT_LENGTHS), mask.shape[1]))[rollout.group_ids]
  tokens = np.where(prompt, prompts, rng.integers(0, 13, mask.shape))
  logprobs = np.where(mask & ~prompt, rng.uniform(-4, -1, mask.shape), 0).astype(np.float32)
  return rollout.replace(
    tokens=np.where(mask, tokens, 0).astype(np.int32),
    mask=mask,
    action_mask=mask & ~prompt,
    behavior_logprobs=logprobs,
    policy_logprobs=logprobs,
    prompt_length=prompt_length,
    num_tokens=num_tokens,
  ), rewards


def rows_of(batch, name):
  return getattr(batch, name).reshape(-1, batch.tokens.shape[-1])


def rows_of_group(batch, group):
  places = batch.sample_ids.reshape(-1, batch.sample_ids.shape[-1])
  return {row for row, s in np.argwhere(places >= 0) if batch.group_ids[places[row, s]] == group}


@pytest.mark.parametrize(
  'stage',
  [GRPO, *(pytest.param(x, marks=pytest.mark.thorough) for x in (GSPO, {**PPO, 'epochs': 2}))],
  ids=['grpo', 'gspo', 'ppo'],
)
def test_loss_gradients_and_metrics_are_those_of_whole_samples(stage):
  rollout, rewards = rollout_of_groups()
  with jax.enable_x64(True):
    prepared, gradient, params = programs(stage)
    found = []
    for share in (False, True):
      batch = packed_batch(rollout, rewards, **SIZES, share_prompts=share)
      grads, seen = gradient(params, prepared(params, batch))
      found.append((float(seen['policy/loss']), jax.tree.leaves_with_path(grads['policy']), seen))
    assert shared_fraction(batch) > 0.15 and (batch.prefix_ids >= 0).any()
    assert any(len(rows_of_group(batch, g)) > 1 for g in range(1, 6)), 'a group in several rows'
    assert batch.num_micro[0] < batch.tokens.shape[1], 'rows that are not used'
    assert_equal_gradients(found[0], found[1], 1e-10)
    assert found[0][2].keys() == found[1][2].keys()
    for name, x in found[0][2].items():
      np.testing.assert_allclose(x, found[1][2][name], rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize('whole_groups', [False, True])
def test_every_sample_stands_once_behind_its_prompt(whole_groups):
  for seed in range(8):
    rollout, rewards = rollout_of_groups(seed)
    layout = make_layout(
      samples=24, group_size=4, max_length=20, rows=3, row_length=44 + seed,
      minibatches=1 + seed % 3, whole_groups=whole_groups, share_prompts=True,
    )  # fmt: skip
    batch, _ = pack(rollout, rewards, layout)
    tokens, segments, prefixes, positions = (
      rows_of(batch, name) for name in ('tokens', 'segment_ids', 'prefix_ids', 'positions')
    )
    places = batch.sample_ids.reshape(len(tokens), -1)
    assert sorted(places[places >= 0]) == list(range(24))
    for row, segment in np.argwhere(places >= 0):
      sample = places[row, segment]
      own = np.flatnonzero(segments[row] == segment)
      (prefix,) = np.unique(prefixes[row, own])
      before = np.flatnonzero((segments[row] == prefix) & (prefix >= 0))
      assert prefix < 0 or places[row, prefix] < 0 < len(before)
      both = np.concatenate([before, own])
      count = rollout.num_tokens[sample]
      np.testing.assert_array_equal(tokens[row, both], rollout.tokens[sample, :count])
      np.testing.assert_array_equal(positions[row, both], np.arange(count))
      sampled = rows_of(batch, 'action_mask')[row, own]
      assert sampled.sum() == count - rollout.prompt_length[sample] and not sampled[0]
    used = (segments >= 0).any(axis=1).reshape(layout.minibatches, -1, layout.rows).any(axis=2)
    np.testing.assert_array_equal(used.sum(axis=1), batch.num_micro)


def test_sharing_needs_no_more_rows_than_whole_samples():
  rng = np.random.default_rng(0)
  for trial in range(60):
    prompts, group = rng.integers(1, 9), rng.integers(1, 9)
    prompt = np.repeat(rng.integers(1, 20, prompts), group)
    lengths = prompt + rng.integers(1, 30, len(prompt))
    ids = np.repeat(np.arange(prompts), group)
    samples = bins.Samples(lengths, ids, np.where(prompt > 1, ids, -1), prompt - 1)
    longest = int(lengths.max())
    layout = make_layout(
      samples=len(ids), group_size=int(group), max_length=longest, rows=2,
      row_length=longest + trial, share_prompts=True,
    )  # fmt: skip
    whole = bins.first_fit(samples._replace(prompts=np.full_like(ids, -1)), layout)
    rows = bins.fit(samples, layout)
    assert sorted(i for row in rows for i in row) == list(range(len(ids)))
    assert len(rows) <= len(whole)
    for row in rows:
      once = {int(p): int(samples.shared[i]) for i in row if (p := samples.prompts[i]) >= 0}
      rest = sum(int(lengths[i] - samples.shared[i] * (samples.prompts[i] >= 0)) for i in row)
      assert sum(once.values()) + rest <= layout.row_length and len(row) <= layout.most_samples
    assert len(rows) <= layout.micro_batches * layout.rows


def test_equal_prompts_are_needed_and_not_only_equal_groups():
  """A group whose samples begin differently is packed whole."""
  rollout, rewards = rollout_of_groups()
  layout = make_layout(
    samples=24, group_size=4, max_length=20, rows=2, row_length=40, share_prompts=True
  )
  first = np.arange(20) == 0
  other = rollout.replace(tokens=np.where(first, np.arange(24)[:, None], rollout.tokens))
  batch, _ = pack(other, rewards, layout)
  assert shared_fraction(batch) == 0 and (batch.prefix_ids == -1).all()


class Takes:
  """What is asked of a policy: parameters and hidden states."""

  init = staticmethod(lambda key: {})

  @staticmethod
  def hidden(params, tokens, *, segment_ids, positions, prefix_ids=None, routing=None):
    if prefix_ids is not None:
      raise ValueError('it takes no prefix_ids')
    return jnp.zeros((*tokens.shape, 2)), {}


def test_a_policy_without_prefixes_is_refused():
  older = Takes()
  older.hidden = lambda params, tokens, *, segment_ids, positions: None
  for policy, why in ((Takes, 'it takes no prefix_ids'), (older, "argument 'prefix_ids'")):
    with pytest.raises(ValueError, match=f'rl.share_prompts: the policy .*{why}'):
      check_prefixes('rl', {'policy': policy})


def test_prefixes_reach_the_pass_only_where_they_are():
  rollout, rewards = rollout_of_groups()
  for share in (False, True):
    batch = packed_batch(rollout, rewards, **SIZES, share_prompts=share)
    assert ('prefix_ids' in arrays.token_arrays(batch)) == share
