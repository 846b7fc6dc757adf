"""How prompts become scored samples: the generator and the strategies that drive it."""

from rljax.rollouts.generate import Generator
from rljax.rollouts.single_turn import Experience, single_turn

__all__ = ['Experience', 'Generator', 'single_turn']
