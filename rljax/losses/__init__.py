"""Losses on arrays: one entry per token (or per sample), unreduced, with diagnostics."""

from rljax.losses.a_lol import a_lol
from rljax.losses.approximate_prox import approximate_prox_surrogate
from rljax.losses.aspo import aspo
from rljax.losses.bapo import balanced_bound, bapo
from rljax.losses.bounded_gradient_clip import bounded_gradient_clip
from rljax.losses.calibrated_importance import calibrated_importance
from rljax.losses.chord import chord_sft
from rljax.losses.cispo import cispo
from rljax.losses.clipped_surrogate import clipped_surrogate
from rljax.losses.clipped_value import clipped_value
from rljax.losses.dcpo import dcpo
from rljax.losses.distillation import (
  forward_distillation,
  generalized_jsd,
  reverse_distillation,
  stored_distillation,
  top_k_distillation,
)
from rljax.losses.dppo import dppo_kl, dppo_tv, prime_rl
from rljax.losses.flow_rl import flow_rl
from rljax.losses.gmpo import gmpo
from rljax.losses.group_regression import gvpo, rebel, reg_grpo
from rljax.losses.gspo import gspo, gspo_token
from rljax.losses.hl_gauss_value import hl_gauss_mean, hl_gauss_value
from rljax.losses.huber_value import huber_value
from rljax.losses.importance_sampling import importance_sampling
from rljax.losses.kl_cov import kl_cov
from rljax.losses.luffy import luffy
from rljax.losses.multiple_importance import multiple_importance
from rljax.losses.nft import nft
from rljax.losses.nll import nll
from rljax.losses.opmd import opmd
from rljax.losses.optimal_advantage import a_star, oapl
from rljax.losses.pacs import pacs
from rljax.losses.pear_nll import pear_nll
from rljax.losses.positive_nll import positive_nll
from rljax.losses.preference import (
  alpha_po,
  aot,
  aot_unpaired,
  apo_down,
  apo_zero,
  apo_zero_unpaired,
  bco_pair,
  cpo,
  discopop,
  dpo,
  dpop,
  exo,
  ipo,
  irpo,
  kto,
  ld_dpo,
  length_desensitized,
  lipo_lambda,
  list_mle,
  nash_md,
  nca,
  orpo,
  r_dpo,
  robust_dpo,
  rpo,
  simpo,
  slic,
  sppo_hard,
  tdpo,
  tpo,
  wpo,
  wpo_weights,
  xpo,
)
from rljax.losses.regularized_policy_gradient import regularized_policy_gradient
from rljax.losses.reinforce import reinforce
from rljax.losses.reward_models import bradley_terry, implicit_prm_loss, step_cross_entropy
from rljax.losses.rltf import rltf
from rljax.losses.rover import rover
from rljax.losses.sapo import sapo
from rljax.losses.selective_nll import selective_nll
from rljax.losses.sequence_clipped import sequence_clipped
from rljax.losses.srft import srft
from rljax.losses.sspo import sspo
from rljax.losses.topr import topr
from rljax.losses.truncated_reinforce import truncated_reinforce
from rljax.losses.unified_policy_gradient import unified_policy_gradient
from rljax.losses.verifree import verifree
from rljax.losses.vespo import vespo
from rljax.losses.weighted_nll import dynamic_nll, importance_weighted_nll

__all__ = [
  'a_lol',
  'a_star',
  'alpha_po',
  'aot',
  'aot_unpaired',
  'apo_down',
  'apo_zero',
  'apo_zero_unpaired',
  'approximate_prox_surrogate',
  'aspo',
  'balanced_bound',
  'bapo',
  'bco_pair',
  'bounded_gradient_clip',
  'bradley_terry',
  'calibrated_importance',
  'chord_sft',
  'cispo',
  'clipped_surrogate',
  'clipped_value',
  'cpo',
  'dcpo',
  'discopop',
  'dpo',
  'dpop',
  'dppo_kl',
  'dppo_tv',
  'dynamic_nll',
  'exo',
  'flow_rl',
  'forward_distillation',
  'generalized_jsd',
  'gmpo',
  'gspo',
  'gspo_token',
  'gvpo',
  'hl_gauss_mean',
  'hl_gauss_value',
  'huber_value',
  'implicit_prm_loss',
  'importance_sampling',
  'importance_weighted_nll',
  'ipo',
  'irpo',
  'kl_cov',
  'kto',
  'ld_dpo',
  'length_desensitized',
  'lipo_lambda',
  'list_mle',
  'luffy',
  'multiple_importance',
  'nash_md',
  'nca',
  'nft',
  'nll',
  'oapl',
  'opmd',
  'orpo',
  'pacs',
  'pear_nll',
  'positive_nll',
  'prime_rl',
  'r_dpo',
  'rebel',
  'reg_grpo',
  'regularized_policy_gradient',
  'reinforce',
  'reverse_distillation',
  'rltf',
  'robust_dpo',
  'rover',
  'rpo',
  'sapo',
  'selective_nll',
  'sequence_clipped',
  'simpo',
  'slic',
  'sppo_hard',
  'srft',
  'sspo',
  'step_cross_entropy',
  'stored_distillation',
  'tdpo',
  'top_k_distillation',
  'topr',
  'tpo',
  'truncated_reinforce',
  'unified_policy_gradient',
  'verifree',
  'vespo',
  'wpo',
  'wpo_weights',
  'xpo',
]
