"""Advantages: rewards of samples -> [N], or per token [..., T]."""

from rljax.advantages.group_normalize import group_normalize

__all__ = ['group_normalize']
