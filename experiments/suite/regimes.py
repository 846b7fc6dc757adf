"""The regimes of the suite: how far the samples of an update may be from the policy it trains.

  P   strictly on-policy: one step on all samples of a rollout; all ratio losses have one gradient
  O   off-policy: eight minibatches, twice each, so most steps are on samples of an older policy
"""

REGIMES = {'P': dict(minibatches=1, epochs=1), 'O': dict(minibatches=8, epochs=2)}


def regime(config, name):
  """`config` in a regime; changes its stage `rl` in place, and nothing but the steps of it.

  Args:
    config: of the suite.
    name: of REGIMES.

  Returns:
    `config`.

  Raises:
    ValueError: no such regime, or samples that do not divide into its minibatches.
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
  return config
