"""How prompts become scored samples: the generator and the strategies that drive it."""

from rljax.rollouts.bootstrap import soft_bootstrap
from rljax.rollouts.crowd import crowd
from rljax.rollouts.external import with_external
from rljax.rollouts.feedback import feedback_turn
from rljax.rollouts.filtered import dynamic_sampling
from rljax.rollouts.generate import Generator
from rljax.rollouts.greedy import greedy_baseline
from rljax.rollouts.hinted import hinted
from rljax.rollouts.likelihood import reference_likelihood
from rljax.rollouts.probes import probed
from rljax.rollouts.programs import SamplerProgram
from rljax.rollouts.refined import refined
from rljax.rollouts.scored_steps import step_scored
from rljax.rollouts.single_turn import Experience, single_turn
from rljax.rollouts.streamed import streamed
from rljax.rollouts.temperature import entropy_temperature

__all__ = [
  'Experience',
  'Generator',
  'SamplerProgram',
  'crowd',
  'dynamic_sampling',
  'entropy_temperature',
  'feedback_turn',
  'greedy_baseline',
  'hinted',
  'probed',
  'reference_likelihood',
  'refined',
  'single_turn',
  'soft_bootstrap',
  'step_scored',
  'streamed',
  'with_external',
]
