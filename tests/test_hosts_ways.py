"""Two processes give what one gives: under each preset, and however samples are collected."""

import pytest
from host_runs import FIVE, SHORT, WIDE, assert_same, ended, run, start, wait_for_checkpoint
from tiny_runs import merge

EXPERTS = dict(num_experts=4, experts_per_token=2, d_expert=16)
# Preset, mesh, model; axes that stand within a host, and axes over both.
LAYOUTS = {
  'heads on a host': ('ep', dict(fsdp=2, tensor=4), dict(num_heads=4, num_kv_heads=4)),
  'heads on both': ('ep', dict(fsdp=1, tensor=8), dict(num_heads=8, num_kv_heads=8)),
  'dp': ('dp', dict(data=8, fsdp=1), {}),
  'fsdp_tp': ('fsdp_tp', dict(fsdp=4, tensor=2), {}),
  'fsdp_tp_sp': ('fsdp_tp_sp', dict(fsdp=2, tensor=2, sequence=2), {}),
  'slots on both': ('fsdp_tp_sp', dict(fsdp=1, tensor=2, sequence=4), {}),
  'ep': ('ep', dict(fsdp=2, tensor=2, expert=2), EXPERTS),
  'experts on both': ('ep', dict(fsdp=1, tensor=2, expert=4), EXPERTS),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', LAYOUTS)
def test_presets(tmp_path, name):
  preset, mesh, model = LAYOUTS[name]
  changed = dict(mesh=mesh, rules=dict(policy=dict(name=f'rules.{preset}')))
  changed |= dict(model=dict(num_heads=4, num_kv_heads=2) | model)
  changed = merge(FIVE, merge(changed, dict(sft=dict(iterations=1), rl=dict(iterations=2))))
  one = run(tmp_path / 'one', processes=1, x64=True, **changed)
  assert_same(run(tmp_path / 'two', x64=True, **changed), one, 1e-8)


WAYS = {
  'environment': dict(
    environment=dict(name='host_parts.echo'),
    rewards=dict(reward='rewards.episode_return'),
    rl=dict(max_new_tokens=10, sampler=dict(slots=16, window=2)),
  ),
  'filtered episodes': dict(
    environment=dict(name='host_parts.echo'),
    rewards=dict(reward='rewards.episode_return'),
    rl=dict(max_new_tokens=10, rollout=dict(name='rollouts.dynamic_sampling', max_rounds=3)),
  ),
  'masked': dict(rl=dict(kind='masked_rl', mask_top_p=0.7, mask_every=2)),
  'interleaved': dict(
    rl=dict(
      kind='interleaved',
      iterations=4,
      buffer=4,
      hard_accuracy=3.0,
      tuning=dict(
        minibatches=2, loss=dict(name='losses.nll'), weights=dict(name='weighting.token_mean')
      ),
      sources=dict(task=dict(name='rollouts.sources.demonstrations')),
    )
  ),
  'adapters': dict(
    lora=dict(name='models.lora', rank=2, alpha=8.0),
    sample_mesh=dict(data=4, fsdp=1, tensor=2),
    rl=dict(kl_coef=0.1),
  ),
  'offloaded': dict(offload=dict(optimizer=True, reference=True), rl=dict(kl_coef=0.1)),
  'stale': dict(rl=dict(max_staleness=2, iterations=4)),
  'batch': dict(rewards=dict(reward='host_parts.agreement')),
  'greedy': dict(
    rl=dict(
      extras=('baseline_rewards',),
      rollout=dict(name='rollouts.greedy_baseline'),
      advantage=dict(name='advantages.greedy_baseline'),
    )
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', WAYS)
def test_ways_to_collect(tmp_path, name):
  changed = merge(SHORT, dict(WAYS[name], model=WIDE))
  one = run(tmp_path / 'one', processes=1, x64=True, **changed)
  assert_same(run(tmp_path / 'two', x64=True, **changed), one, 1e-8)


@pytest.mark.slow
def test_what_waits_for_its_update_is_continued_by_one(tmp_path):
  config = merge(SHORT, dict(WAYS['stale'], model=WIDE, checkpoint_every=1))
  one = run(tmp_path / 'one', processes=1, x64=True, **config)
  begun = start(tmp_path / 'w', x64=True, **config)
  wait_for_checkpoint(tmp_path / 'w', begun, 3)
  begun[0].kill()
  ended(begun, 300)
  run(tmp_path / 'w', processes=1, x64=True, **config)
  assert_same(tmp_path / 'w', one, 1e-8)
