"""How prompts become scored samples: the generator and the strategies that drive it."""

from rljax.rollouts.filtered import dynamic_sampling
from rljax.rollouts.generate import Generator, sampler_program
from rljax.rollouts.greedy import greedy_baseline
from rljax.rollouts.single_turn import Experience, single_turn

__all__ = [
  'Experience',
  'Generator',
  'dynamic_sampling',
  'greedy_baseline',
  'sampler_program',
  'single_turn',
]
