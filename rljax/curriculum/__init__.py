"""Curricula: which prompts come next."""

from rljax.curriculum.domains import domains as domains
from rljax.curriculum.fixed import fixed as fixed
from rljax.curriculum.fixed import most_varied as most_varied
from rljax.curriculum.sets import sets as sets
from rljax.curriculum.uniform import uniform as uniform
