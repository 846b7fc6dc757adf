"""Rewards [N] -> rewards [N]: lengths, repetition, limits, running scales."""

__all__: list[str] = []
