"""The vocabulary of metric names: one list, so that runs can be compared."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from rljax.binding import near

WORD = r'[a-zA-Z0-9][a-zA-Z0-9_.\-]*'

# Families whose names are listed, and families where anything may follow.
LISTED = {
  'reward': ('mean', 'std', 'errors', 'timeouts', 'disagreements'),
  'group': ('zero_variance', 'size'),
  'rollout': (
    'tokens',
    'length_mean',
    'length_stopped',
    'entropy',
    'temperature',
    'eos_rate',
    'truncated',
    'capacity',
    'shared',
    'mismatch_mean',
    'mismatch_max',
    'rounds',
    'samples',
    'generated_groups',
    'dropped_groups',
    'surplus_groups',
    'missing_groups',
    'unfinished_groups',
    'external',
    'external_missing',
    'external_reward',
    'hinted',
    'rescued',
    'refined',
    'turns',
    'heard',
    'age',
  ),
  'policy': ('loss', 'ratio_max', 'clip_low', 'clip_high', 'kl_ref', 'kl_old', 'entropy'),
  'value': ('loss', 'explained_variance'),
  'update': ('loss', 'grad_norm', 'lr', 'skipped', 'nonfinite', 'spikes'),
}
STAGE = ('loss', 'accuracy', 'margin')  # of a stage other than 'rl'
EVALUATION = (
  'greedy',
  'well_formed',
  'length_mean',
  'eos_rate',
  'truncated',
  'errors',
  'distinct',
  'reward',
  'accuracy',  # of a preference, a reward model
  'margin',
)
EVALUATED = '|'.join(EVALUATION)
OPEN = {
  'reward': rf'reward/{WORD}',  # a component of the reward
  'mismatch': rf'mismatch/{WORD}',
  'tools': rf'tools/{WORD}(/{WORD})*',
  'router': rf'router/{WORD}(/{WORD})*',
  'time': rf'time/{WORD}',
  'memory': rf'memory/{WORD}',
  'method': rf'method/{WORD}(/{WORD})+',
  'eval': rf'eval/{WORD}/({EVALUATED}|(avg|pass|maj)@[1-9][0-9]*|component/{WORD})(_se)?',
}


class MetricNameError(ValueError):
  """A metric name outside the vocabulary."""


def check_name(name: str, stages: Sequence[str] = ('sft',)) -> str:
  """`name` if it belongs to the vocabulary.

  Args:
    name: such as 'reward/mean' or 'eval/arithmetic/pass@16'; `_se` after an evaluation's name is
      its standard error.
    stages: names of the run's stages; each but 'rl' has <stage>/{loss,accuracy,margin}.

  Raises:
    MetricNameError: names the near ones.

  Examples:
    >>> print(metrics.check_name('reward/mean'))
    reward/mean
    >>> try:
    ...   metrics.check_name('reward/men')
    ... except metrics.MetricNameError as error:
    ...   print(error)
    'reward/men'
  """
  return _check(name, tuple(stages))


@functools.lru_cache(maxsize=4096)  # the same names come every iteration
def _check(name: str, stages: tuple[str, ...]) -> str:
  family, _, rest = name.partition('/')
  if rest in LISTED.get(family, ()):
    return name
  if family in stages and family != 'rl' and rest in STAGE:
    return name
  if family in OPEN and re.fullmatch(OPEN[family], name):
    return name
  known = [f'{f}/{r}' for f, names in LISTED.items() for r in names]
  known += [f'{stage}/{r}' for stage in stages if stage != 'rl' for r in STAGE]
  if family == 'eval':
    task = name.split('/')[1]
    known += [f'eval/{task}/{r}' for r in (*EVALUATION, 'avg@16', 'pass@16')]
  families = sorted({*LISTED, *OPEN, *(s for s in stages if s != 'rl')})
  hint = near(name, known) or f'; a name begins with one of {", ".join(families)}'
  raise MetricNameError(
    f'metric name {name!r} is not in the vocabulary{hint} (own ones: method/<name>/<what>)'
  )
