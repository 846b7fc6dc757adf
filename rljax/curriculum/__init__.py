"""Curricula: which prompts come next."""

from rljax.curriculum.uniform import uniform as uniform
