"""A unit of the suite: the method of a config, put on one of the tasks, at their size."""

import pathlib
import sys

from rljax import config

# The tasks are named `suite.<module>.<function>`.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from comparison import arms

from suite import regimes

HERE = pathlib.Path(__file__).resolve().parent
TASKS = (
  'split', 'ops', 'pad', 'chain', 'graded', 'two_skill', 'sorting', 'arithmetic', 'mixed',
)  # fmt: skip
NODES = ('task', 'tokenizer', 'sft')  # taken whole
SHORTER = {('ops', 'O'): 20}  # iterations; with more, all arms end at the ceiling
UNIFORM = 'curriculum.uniform'
SIZES = (
  'iterations', 'prompts', 'samples', 'max_prompt', 'max_new_tokens', 'max_length', 'rows',
  'row_length', 'packed',
)  # fmt: skip


def put_on(settings, task, regime):
  """The ConfigDict `settings` with the task, the sizes and the regime of a unit.

  What makes the method stays: functions, coefficients, strategy, stages, a curriculum of its own.

  Args:
    settings: of a preset or a paper; its last stage is 'rl', the first one 'sft'.
    task: of TASKS.
    regime: 'P', 'O', 'S4', 'X'; '' = the steps that the config has.

  Raises:
    ConfigError: no such task.
  """
  if task not in TASKS:
    raise config.ConfigError(f'task {task!r} is none of {", ".join(TASKS)}')
  unit = config.load(str(HERE / 'configs' / f'{task}.py'))
  for name in NODES:
    settings[name] = unit[name]
  settings.model.update(unit.model)
  for name in settings.stages:
    sizes = unit.sft if settings[name].kind == 'sft' else unit.rl
    settings[name].update({size: sizes[size] for size in SIZES if size in settings[name]})
  settings.rl.optimizer.learning_rate = unit.rl.optimizer.learning_rate
  if settings.rl.curriculum.name == UNIFORM:
    settings.rl.curriculum = unit.rl.curriculum
  settings.rewards.workers = unit.rewards.workers
  settings.evaluation.overlap = unit.evaluation.overlap
  if regime:
    regimes.regime(settings, regime)
  settings.rl.iterations = SHORTER.get((task, regime), settings.rl.iterations)
  return settings


def make_arm(text, unit, evaluation, changes=(), edit=None):
  """The arm of `NAME=CONFIG` or `CONFIG` on a unit.

  Args:
    text: a config's name or path; its name is the stem of the file unless one is given.
    unit: (task, regime).
    evaluation: keys of that node.
    changes: `--config.a.b=value`, which have the last word.
    edit: changes the ConfigDict on its unit, before that.
  """
  name, settings = arms.load(text)
  settings = put_on(settings, *unit)
  if edit is not None:
    edit(settings)
  return arms.make_arm(name, settings, list(changes), evaluation)
