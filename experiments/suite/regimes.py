"""The regimes of the suite: how far the samples of an update may be from the policy it trains.

  P   strictly on-policy: one step on all samples of a rollout; all ratio losses have one gradient
  O   off-policy: eight minibatches, twice each, so most steps are on samples of an older policy
  S4  stale: one step on each rollout, which has waited in the queue for four iterations
  X   mismatch: as P, and the logits of the sampler are off by N(0, σ²)
"""

SIGMA = 0.2
SAMPLED = 'rollouts.single_turn'  # the strategy that X puts its own in the place of
REGIMES = {
  'P': dict(minibatches=1, epochs=1),
  'O': dict(minibatches=8, epochs=2),
  'S4': dict(minibatches=1, epochs=1, max_staleness=4),
  'X': dict(minibatches=1, epochs=1),
}
SMALLER = {'O': 1 / 3}  # learning rate for more steps, times that of one step a rollout


def regime(config, name):
  """`config` in a regime; changes the steps of its stage `rl` in place, and what goes with them.

  Args:
    config: of the suite.
    name: of REGIMES.

  Returns:
    `config`.

  Raises:
    ValueError: no such regime, samples that do not divide into its minibatches, or a strategy that
      X cannot perturb.
  """
  if name not in REGIMES:
    raise ValueError(f'regime {name!r}: there are {", ".join(REGIMES)}')
  steps, samples = REGIMES[name], config.rl.prompts * config.rl.samples
  if samples % steps['minibatches']:
    raise ValueError(
      f'regime {name!r}: rl.prompts × rl.samples = {samples} samples are not divisible by '
      f'{steps["minibatches"]} minibatches'
    )
  config.rl.update(steps)
  config.rl.rows = min(config.rl.rows, samples // steps['minibatches'])
  config.rl.optimizer.learning_rate *= SMALLER.get(name, 1)
  if name == 'X':
    if config.rl.rollout.name != SAMPLED:
      raise ValueError(f'regime X perturbs {SAMPLED}, and the config has {config.rl.rollout.name}')
    config.rl.rollout = dict(name='suite.mismatch.perturbed', sigma=SIGMA)
  return config
