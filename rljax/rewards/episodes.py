"""Rewards of episodes: what the environment has given."""

from __future__ import annotations

from typing import Any


def episode_return(metadata: dict[str, Any]) -> dict[str, float]:
  """The sum of the rewards of an episode's turns.

  Functions that read `token_rewards` (returns of turns) see the same rewards at their turns; with
  them the reward of the sample should be another, or 0.

  Args:
    metadata: of the prompt, with 'episode' as `rollouts.episodes` adds it.

  Returns:
    'reward', and the component 'turns'.

  Raises:
    KeyError: the sample is no episode: the config has no environment.

  Examples:
    >>> print(rewards.episode_return({'episode': {'return': 1.5, 'turns': 3}}))
    {'reward': 1.5, 'turns': 3.0}
  """
  episode = metadata['episode']
  return {'reward': float(episode['return']), 'turns': float(episode['turns'])}
