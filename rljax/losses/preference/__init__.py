"""Preference objectives on [N] arrays: a pair or list is a group, ranked by its rewards.

All are re-exported by `rljax.losses`. The loss of a pair stands on its chosen sample, that of a
list on its first, 0 elsewhere; `pairs` says how pairs are found.
"""

from rljax.losses.preference.aot import aot, aot_unpaired
from rljax.losses.preference.discopop import discopop
from rljax.losses.preference.dpo import dpo
from rljax.losses.preference.dpop import dpop
from rljax.losses.preference.kto import apo_zero_unpaired, kto
from rljax.losses.preference.label_noise import exo, robust_dpo
from rljax.losses.preference.lengths import ld_dpo, length_desensitized, r_dpo
from rljax.losses.preference.likelihood import irpo, rpo
from rljax.losses.preference.listwise import lipo_lambda, list_mle
from rljax.losses.preference.online import nash_md, xpo
from rljax.losses.preference.orpo import orpo
from rljax.losses.preference.separate import apo_down, apo_zero, bco_pair, nca
from rljax.losses.preference.simpo import alpha_po, cpo, simpo
from rljax.losses.preference.slic import slic
from rljax.losses.preference.squared import ipo, sppo_hard
from rljax.losses.preference.tdpo import tdpo
from rljax.losses.preference.tpo import tpo
from rljax.losses.preference.wpo import wpo, wpo_weights

__all__ = [
  'alpha_po',
  'aot',
  'aot_unpaired',
  'apo_down',
  'apo_zero',
  'apo_zero_unpaired',
  'bco_pair',
  'cpo',
  'discopop',
  'dpo',
  'dpop',
  'exo',
  'ipo',
  'irpo',
  'kto',
  'ld_dpo',
  'length_desensitized',
  'lipo_lambda',
  'list_mle',
  'nash_md',
  'nca',
  'orpo',
  'r_dpo',
  'robust_dpo',
  'rpo',
  'simpo',
  'slic',
  'sppo_hard',
  'tdpo',
  'tpo',
  'wpo',
  'wpo_weights',
  'xpo',
]
