"""AceReason-Nemotron: RL on mathematics alone, then on code alone, each step on fresh samples.

AceReason-Nemotron: Advancing Math and Code Reasoning through Reinforcement Learning, 2025. Within
mathematics the limit of length grows and the prompts get harder, those that are solved too often
being left out; one update for each rollout, averaged over tokens, without a KL, keeps the entropy.
Differs from `domains`: stages, tasks, minibatches. Adapted: operations on words, whose result is
checked, stand for programs. Recalled: the limits, strictly on-policy updates, the mean over
tokens. Expected: what is learnt on mathematics is kept, or helps, on the other domain.

  rljax train --config=papers/acereason_nemotron
"""

import rljax

METHOD = dict(
  paper=(
    'AceReason-Nemotron: Advancing Math and Code Reasoning through Reinforcement Learning (2025)'
  ),
  scope='RECIPE',
  stage='recipe',
  functions=('curriculum.domains', 'rollouts.dynamic_sampling', 'weighting.token_mean'),
  fidelity='adapted',
  baseline='domains',
  differs='prompts',
)


def get_config():
  config = rljax.load_config('domains')
  config.task.sources = dict(
    math=dict(task=dict(name='tasks.arithmetic')),
    math_hard=dict(task=dict(name='tasks.arithmetic', num_operands=4)),
    code=dict(task=dict(name='tasks.edits', length=5, num_edits=2)),
  )
  config.stages = ('sft', 'math', 'math_longer', 'rl')
  config.rl.update(iterations=40, minibatches=1, max_prompt=20, max_new_tokens=34)
  config.rl.weights = dict(name='weighting.token_mean')
  config.math = _on(config, 'math', max_new_tokens=20)
  config.math_longer = _on(config, 'math_hard')
  config.math_longer.rollout = dict(
    name='rollouts.dynamic_sampling', keep='band', high=0.8, max_rounds=4
  )
  config.rl = _on(config, 'code')
  return config


def _on(config, domain, **changes):
  """RL on one domain alone."""
  stage = config.rl.copy_and_resolve_references()
  stage.curriculum = dict(name='curriculum.domains', shares={domain: 1.0})
  stage.update(changes)
  return stage
