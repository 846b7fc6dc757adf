"""What is claimed of each method, and the unit of the suite on which that is measured."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Claim:
  """One entry.

  Attributes:
    key: of the paper's config.
    task, regime: the unit, see experiments/suite; regime '' = the steps that the config has.
    primary: quantity of the verdict.
    way: +1 if it is claimed to be higher than the baseline's, −1 if lower.
    text: the claim, as measured here.
    changes: `--config.…` for method and baseline.
    own: `--config.…` for the method alone, where the suite's sizes hide what it needs.
    mechanism: metric whose absence says that the mechanism did not act.
    baseline: config; '' = the one that the paper's config names.
  """

  key: str
  task: str
  regime: str
  primary: str
  way: int
  text: str
  changes: tuple[str, ...] = ()
  own: tuple[str, ...] = ()
  mechanism: str = ''
  baseline: str = ''


# Trust regions and regressions live where most steps are off-policy; what shapes advantages by
# outcome alone is measured strictly on-policy.
CLAIMS = (
  Claim('ace', 'ops', 'O', 'pass@16', 1, 'a higher pass@k at large k'),
  Claim('brpo', 'split', 'O', 'auc', 1, 'learns faster than with the mean of the group'),
  Claim('deepvideo_r1', 'split', 'O', 'auc', 1, 'regression learns faster than the clip'),
  Claim('karl', 'split', 'O', 'auc', 1, 'regression bears old samples better than the clip'),
  Claim('pacs', 'split', 'O', 'auc', 1, 'labels teach faster than advantages'),
  Claim('rover', 'split', 'O', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('siren', 'split', 'O', 'entropy', 1, 'entropy does not fall as far'),
  Claim('nsr', 'split', 'P', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('rapo_reward_aware', 'split', 'P', 'distinct', 1, 'keeps more kinds of right answers'),
  Claim('outcome_based_exploration', 'split', 'P', 'distinct', 1, 'more kinds of right answers'),
  Claim('laser', 'pad', 'P', 'held-out length', -1, 'shorter at equal accuracy'),
  Claim('open_rs', 'pad', 'P', 'held-out length', -1, 'shorter at equal accuracy'),
  Claim('luspo', 'pad', 'O', 'held-out length', 1, 'does not shrink as GSPO does'),
  Claim('dler', 'pad', 'O', 'held-out length', -1, 'shorter at equal accuracy'),
  Claim('lite_ppo', 'ops', 'P', 'auc', 1, 'learns faster than with the deviation of the group'),
  Claim('gui_g1', 'ops', 'P', 'auc', 1, 'hard categories learn faster'),
  Claim('oblr_po', 'ops', 'P', 'auc', 1, 'less variance, so faster learning'),
  Claim('forking_tokens', 'chain', 'O', 'auc', 1, 'a fifth of the tokens teaches as much or more'),
  Claim('sspo', 'chain', 'O', 'auc', 1, 'ratios of sentences learn faster'),
  Claim('tempo', 'chain', 'O', 'auc', 1, 'credit by prefixes learns faster'),
)
