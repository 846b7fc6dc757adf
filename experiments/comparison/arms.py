"""The arms of a comparison: configs with their changes, and the stages that they share."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping

from rljax import config, files, overrides

A_A = 'A/A'  # the baseline against itself with other sampling noise
OTHER_NOISE = 0xA0A0  # xor'ed into the seed of the draws of that arm
GIVEN = ('task', 'tokenizer', 'model', 'mesh')  # of a config, besides its stages
LIMITS = ('max_prompt', 'max_new_tokens')  # of the samples that tell when SFT ends
USED = (*GIVEN, 'stages', 'rewards', 'evaluation', 'rl')  # evaluation takes its limits from rl


@dataclasses.dataclass(frozen=True)
class Arm:
  """One column of a comparison.

  Attributes:
    name: unique.
    settings: its config as nested dicts, resolved.
    other_noise: whether it draws other samples than the baseline.
  """

  name: str
  settings: dict
  other_noise: bool = False

  @property
  def stage(self):
    """The stage that is compared: the last one."""
    return self.settings['stages'][-1]

  @property
  def digest(self):
    """Tells results of this arm from those of another config under the same name."""
    names = {*USED, *self.settings['stages']}
    return digest({name: self.settings[name] for name in names}, self.other_noise)

  def start(self):
    """The config of the stages before the last one, without what they don't see; None = none.

    Arms whose earlier stages are equal have equal ones, so they share their runs.
    """
    stages = self.settings['stages'][:-1]
    if not stages:
      return None
    shared = config.load(str(config.shipped() / 'default.py')).to_dict()
    shared |= {name: self.settings[name] for name in (*GIVEN, *stages)}
    shared['rl'] = {**shared['rl'], **{name: self.settings['rl'][name] for name in LIMITS}}
    evaluation = {**self.settings['evaluation'], 'samples': 1, 'ks': (1,), 'every': 0}
    shared |= dict(stages=stages, evaluation=evaluation, writers=('jsonl',))
    return config.resolve(shared).to_dict()


def digest(settings, *more):
  """A short name for a config: of what differs from the defaults, so that new keys change none."""
  text = json.dumps(files.plain([own(settings, defaults()), *more]), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


@functools.cache
def defaults():
  return config.resolve(config.load(str(config.shipped() / 'default.py'))).to_dict()


def own(settings, common):
  """The entries of nested dicts that `common` has not, or not with the same value."""
  found = {}
  for key, value in settings.items():
    if isinstance(value, Mapping) and isinstance(common.get(key), Mapping):
      value = own(value, common[key])
      found |= {key: value} if value else {}
    elif key not in common or value != common[key]:
      found[key] = value
  return found


def load(text):
  """(name, ConfigDict) of `NAME=CONFIG` or `CONFIG`, whose name is the stem of its file."""
  name, _, path = text.rpartition('=')
  path = config.find(path)
  folder = str(pathlib.Path(path).resolve().parent)
  if folder not in sys.path:
    sys.path.append(folder)  # a config's own functions stand beside it
  return name or path.stem, config.load(str(path))


def make_arm(name, settings, changes, evaluation):
  """The arm of a config.

  Args:
    name: of the arm.
    settings: ConfigDict.
    changes: `--config.a.b=value`, one after the other.
    evaluation: the node of the evaluation, some of its keys.
  """
  settings.evaluation.update(evaluation)
  changed, notes = overrides.override(settings, changes)
  for note in notes:
    print(f'{name}: {note}')
  settings = config.resolve(changed).to_dict()
  if settings['rewards']['reward'] is None:
    settings['rewards']['workers'] = 0  # the tasks' own rewards are cheap and need no limits
  return Arm(name, settings)


def make_arms(configs, baseline, changes, evaluation, special=()):
  """The baseline, its A/A arm, and the others, in this order.

  Args:
    configs, baseline: `NAME=CONFIG` or `CONFIG`.
    changes: `--config.a.b=value` for all arms.
    evaluation: keys of that node.
    special: (name of an arm, `--config.a.b=value`); those of an arm come last.

  Raises:
    ConfigError: two arms of one name, or changes for an arm that is none.
  """
  def arm(text):
    name, settings = load(text)
    return make_arm(
      name, settings, [*changes, *(change for arm, change in special if arm == name)], evaluation
    )

  first = arm(baseline)
  again = Arm(A_A, first.settings, other_noise=True)
  others = [arm(text) for text in configs]
  arms = [first, again, *others]
  names = [arm.name for arm in arms]
  for name in names:
    if names.count(name) > 1:
      raise config.ConfigError(f'two arms are called {name}; NAME=CONFIG names an arm')
  for name, change in special:
    if name not in names:
      raise config.ConfigError(f'--set {name}:{change}: the arms are {", ".join(names)}')
  return arms
