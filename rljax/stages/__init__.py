"""The stages of a run: where the samples of an iteration come from, and the update they feed."""

from rljax.stages.distillation import Distillation
from rljax.stages.interleaved import Interleaved
from rljax.stages.masked import MaskedReinforcement
from rljax.stages.process import ProcessRewardModel
from rljax.stages.ranked import Ranked, RewardModel
from rljax.stages.rehearsal import Rehearsal
from rljax.stages.reinforcement import Reinforcement
from rljax.stages.stage import Stage
from rljax.stages.supervised import Supervised

__all__ = ['KINDS', 'Reinforcement', 'Stage', 'make_stage']

KINDS = {
  'sft': Supervised,
  'preference': Ranked,
  'reward_model': RewardModel,
  'process_reward_model': ProcessRewardModel,
  'distill': Distillation,
  'rehearsal': Rehearsal,
  'rl': Reinforcement,
  'interleaved': Interleaved,
  'masked_rl': MaskedReinforcement,
}


def make_stage(name, world, *, draws: int = 0) -> Stage:
  """The stage of a key of the config.

  Args:
    name: the key.
    world: what the stages of the run share.
    draws: prompts drawn so far in the run.

  Raises:
    ValueError: functions, shapes or files that do not fit together.
  """
  return KINDS[world.config[name].kind](name, world, draws=draws)
