"""Advantages: rewards -> [N], or [..., T] per token; a pair means (advantages, returns)."""

from rljax.advantages.gae import gae
from rljax.advantages.group_normalize import group_normalize
from rljax.advantages.leave_one_out import leave_one_out
from rljax.advantages.whiten import whiten

__all__ = ['gae', 'group_normalize', 'leave_one_out', 'whiten']
