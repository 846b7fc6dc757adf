"""Losses on given tokens: SFT and distillation."""

from reference import losses as reference

from cases import Case
from rljax import losses

CASES = {
  'nll': Case(losses.nll, reference.nll),
}
