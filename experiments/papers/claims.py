"""What is claimed of each method, and the unit of the suite on which that is measured."""

import dataclasses
from collections.abc import Callable
from typing import Any

from comparison import effects

RULES = tuple(f'category_{letter}' for letter in 'abcd')


@dataclasses.dataclass(frozen=True)
class Claim:
  """One entry.

  Attributes:
    key: of the paper's config.
    task, regime: the unit, see experiments/suite; regime '' = the steps that the config has; task
      'tree' = level 0, gradients alone.
    primary: quantity of the verdict.
    way: +1 if it is claimed to be higher than the baseline's, −1 if lower.
    text: the claim, as measured here.
    edit: changes the method's ConfigDict, where the unit needs it; None = nothing.
    edit_baseline: changes the baseline's.
    baseline: config; '' = the one that the paper's config names.
    unpaid: whether `primary` is a score that the baseline is not paid; then, as with lengths and
      variety, it need not gain (rule 6).
  """

  key: str
  task: str
  regime: str
  primary: str
  way: int
  text: str
  edit: Callable[[Any], None] | None = None
  edit_baseline: Callable[[Any], None] | None = None
  baseline: str = ''
  unpaid: bool = False

  @property
  def about_reward(self) -> bool:
    return not self.unpaid and self.primary not in effects.NOT_REWARD


# -- what a unit needs


def second_sft(config):
  """A second stage of SFT that is as short as the first one is long enough."""
  config.more.iterations = 50


def without_first_stage(config):
  """One stage of RL, as the baseline has."""
  config.stages = ('sft', 'rl')
  del config.short


def whole_output(config):
  config.rewards.reward = dict(name='suite.pad.bare')


def noisy_split(config):
  """The rewards of the task in the place of those of arithmetic."""
  config.rewards.reward.reward.reward = 'suite.split.reward'


def coded_split(config):
  """The rewards of the task in the place of those of words."""
  config.rewards.reward.reward = 'suite.split.reward'


def coded_ops(config):
  config.rewards.reward.reward = 'suite.ops.reward'


def teacher_of_ops(config):
  """Right answers in the place of the task's noisy demonstrations."""
  config.rl.sources.task = dict(name='rollouts.sources.function', function='suite.ops.solve')


def two_teachers_of_ops(config):
  """One that is always right, and the task's noisy demonstrations."""
  config.rl.sources = dict(
    right=dict(name='rollouts.sources.function', function='suite.ops.solve'),
    noisy=dict(name='rollouts.sources.demonstrations'),
  )
  config.rl.rollout.answer_after = ''  # nothing stands before it


def soon_on_ops(config):
  """A buffer that fills more than once in as few prompts."""
  teacher_of_ops(config)
  config.rl.buffer = 16


def apart_on_ops(config):
  teacher_of_ops(config)
  config.rl.weights.max_completion_length = config.rl.max_new_tokens


def solved_by_half(config):
  """A pool of what the start solves in most samples, which is never all of them here."""
  config.rl.pool_solved = 0.6


def focus_until_the_end(config):
  config.rl.weights.focus.steps = config.rl.iterations


def three_components(config):
  """Those of `graded`, each normalised by itself."""
  config.rewards.reward = None
  config.rl.reward_components = ('place', 'format', 'length')
  config.rl.advantage.weights = (('place', 1.0), ('format', 1.0), ('length', 1.0))


def rules(config):
  """The rules of `ops` in the place of the tasks of a mixture."""
  config.rl.reward_components = RULES
  config.rl.advantage.sources = RULES


def balanced_rules(config):
  rules(config)
  shares = dict.fromkeys('abcd', 1.0)
  config.rl.curriculum = dict(name='curriculum.domains', by='category', shares=shares)


def without_bonus(config):
  """The curriculum alone."""
  config.rl.entropy_coef = 0.0


def one_metric(config):
  """The first of the metrics alone."""
  config.rewards.reward = dict(name='tasks.sorting.in_order')


# -- claims

# Trust regions and regressions live where most steps are off-policy; what shapes advantages by
# outcome alone is measured strictly on-policy.
HARDEST = 'component/category_d'  # of ops: three demonstrations in twenty are right
CLAIMS = (
  Claim('ace', 'split', 'O', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('brpo', 'split', 'O', 'auc', 1, 'learns faster than with the mean of the group'),
  Claim('deepvideo_r1', 'split', 'O', 'auc', 1, 'regression learns faster than the clip'),
  Claim('a_lol', 'split', 'O', 'auc', 1, 'learns faster from old samples than the clip'),
  Claim('karl', 'split', 'O', 'auc', 1, 'regression bears old samples better than the clip'),
  Claim('pacs', 'split', 'O', 'auc', 1, 'labels teach faster than advantages'),
  Claim('rover', 'split', 'O', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('siren', 'split', 'O', 'entropy', 1, 'entropy does not fall as far'),
  Claim('nsr', 'split', 'P', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('rapo_reward_aware', 'split', 'P', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim(
    'outcome_based_exploration', 'split', 'P', 'distinct', 1, 'more kinds of right answers',
    edit=coded_split,
  ),
  Claim('laser', 'pad', 'P', 'held-out length', -1, 'shorter at equal accuracy'),
  Claim('open_rs', 'pad', 'P', 'held-out length', -1, 'shorter at equal accuracy'),
  Claim('luspo', 'tree', '', 'bias²', -1, 'less bias by length than GSPO'),
  Claim('lite_ppo', 'tree', '', 'bias²', -1, 'less bias than with the deviation of the group'),
  Claim('gui_g1', 'ops', 'P', 'auc', 1, 'hard categories learn faster'),
  Claim('oblr_po', 'tree', '', 'variance', -1, 'less variance'),
  Claim('forking_tokens', 'split', 'O', 'auc', 1, 'a fifth of the tokens teaches as much or more'),
  Claim('sspo', 'split', 'O', 'auc', 1, 'ratios of sentences learn faster'),
  Claim('tempo', 'split', 'O', 'auc', 1, 'credit by prefixes learns faster'),
  Claim(
    'attention_entropy', 'split', 'O', 'auc', 1, 'weights by attention learn faster',
    edit=focus_until_the_end,
  ),
  Claim('verl_hidden_rank', 'split', 'O', 'auc', 1, 'a bonus for rank learns faster'),
  Claim('campo', 'pad', 'P', 'held-out length', -1, 'fewer loops', edit=without_first_stage),
  Claim('cls_rl', 'pad', 'P', 'held-out length', -1, 'nothing but the answer', edit=whole_output),
  Claim('srpo_self_referential', 'ops', 'P', 'pass@1', 1, 'failures teach, too'),
  Claim('prm_clip_delta', 'ops', 'P', 'pass@1', 1, 'rewards of steps help the outcome'),
  Claim('ar3d_r1', 'ops', 'P', 'pass@1', 1, 'credit by stages learns faster'),
  Claim(
    'rlccf', 'ops', 'P', 'pass@1', 1, 'a crowd labels better than one policy', edit=coded_ops
  ),
  Claim(
    'flowse_grpo', 'sorting', 'P', 'pass@1', 1, 'what is not paid for does not suffer',
    edit_baseline=one_metric, unpaid=True,
  ),
  Claim(
    'evol_rl', 'ops', 'P', 'entropy', 1, 'novelty keeps what the majority takes',
    baseline='presets/ttrl',
  ),
  Claim('noisy_rewards_rpr', 'split', 'P', 'pass@1', -1, 'flips slow it down', edit=noisy_split),
  Claim('hl_gauss', 'ops', 'O', 'auc', 1, 'a histogram of values teaches faster than their mean'),
  Claim('prorl', 'split', 'O', 'auc', 1, 'a renewed reference lets training go on'),
  Claim(
    'pear', 'split', 'P', 'distinct', 1, 'a better start for RL',
    edit=second_sft, edit_baseline=second_sft,
  ),
  Claim(
    'eksft', 'split', 'P', 'distinct', 1, 'a better start for RL',
    edit=second_sft, edit_baseline=second_sft, baseline='presets/sft_twice',
  ),
  Claim(
    'dph_rl', 'split', 'O', 'distinct', 1, 'keeps what the start could do', edit=solved_by_half
  ),
  Claim('rl4lms', 'sorting', '', 'pass@1', 1, 'learns faster among likely tokens'),
  Claim('hpt', 'ops', 'P', HARDEST, 1, 'the hardest rule is learnt', edit=apart_on_ops),
  Claim('rl_plus', 'ops', 'O', HARDEST, 1, 'the hardest rule is learnt', edit=teacher_of_ops),
  Claim('ghpo', 'ops', 'O', HARDEST, 1, 'the hardest rule is learnt', edit=teacher_of_ops),
  Claim('relift', 'ops', 'O', HARDEST, 1, 'the hardest rule is learnt', edit=soon_on_ops),
  Claim(
    'ampo', 'ops', 'O', HARDEST, 1, 'the hardest rule is learnt',
    edit=two_teachers_of_ops, baseline='presets/grpo_off_policy',
  ),
  Claim(
    'one_shot_rlvr', 'split', 'P', 'pass@1', -1, 'one prompt teaches less than many',
    edit=without_bonus, baseline='quickstart',
  ),
  Claim('verifree', 'arithmetic', 'P', 'pass@1', 1, 'likelihood teaches as well as a verifier'),
  Claim('dro_r3', 'arithmetic', 'P', 'pass@1', 1, 'likelihood teaches as well as a verifier'),
  Claim('darl', 'arithmetic', 'P', 'distinct', 1, 'more kinds of right answers'),
  Claim('spae', 'arithmetic', 'P', 'pass@1', 1, 'credit of steps learns faster'),
  Claim(
    'qwenlong_aepo', 'ops', 'P', 'auc', 1, 'balance between rules learns faster',
    edit=balanced_rules, baseline='quickstart',
  ),
  Claim(
    'recap_replay', 'ops', 'P', 'auc', 1, 'weight for the rules that lag learns faster',
    edit=rules, baseline='quickstart',
  ),
  # Groups that are left out change the mean of the training rewards, and cost samples.
  Claim(
    'dler', 'ops', 'O', 'auc held-out', 1, 'what it adds besides a limit of length learns more'
  ),
  Claim(
    'longwriter_zero', 'graded', 'P', 'pass@1', 1, 'components of small scale count',
    edit=three_components,
  ),
)  # fmt: skip
