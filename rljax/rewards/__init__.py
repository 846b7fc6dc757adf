"""Rewards: scoring in processes with limits, and control rewards."""

from rljax.rewards.controls import inverted as inverted
from rljax.rewards.controls import random_reward as random_reward
from rljax.rewards.scorer import Scorer as Scorer
from rljax.rewards.scorer import Scores as Scores
