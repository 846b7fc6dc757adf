"""Preference objectives and reward models."""

from reference import preference as reference

from cases import Case
from rljax import losses

SUITE = 'test_preference.py'
OTHERS = {'wpo_weights', 'length_desensitized'}


def case(name, hyper=None, *, formula=None, optional=(), **changed):
  return Case(
    getattr(losses, name),
    getattr(reference, formula or name),
    hyper or {},
    optional=optional,
    **changed,
  )


CASES = {
  'dpo': case('dpo'),
  'dpo, smoothed': case('dpo', {'beta': 1.0, 'label_smoothing': 0.2, 'margin': 0.3}),
  'dpo, forward kl': case('dpo', {'beta': 0.7, 'f_divergence': 'forward_kl'}),
  'dpo, js': case('dpo', {'beta': 0.7, 'f_divergence': 'js'}),
  'dpo, alpha': case('dpo', {'beta': 0.7, 'f_divergence': 'alpha', 'alpha': 0.3}),
  'dpo, alpha above 1': case('dpo', {'beta': 0.7, 'f_divergence': 'alpha', 'alpha': 1.4}),
  'dpo, length-normalised': case(
    'dpo', {'beta': 5.0, 'length_normalize': True}, optional=('completion_length',)
  ),
  'dpo, offsets': case('dpo', {'beta': 0.5}, formula='dpo_with_offsets', optional=('margins',)),
  'robust_dpo': case('robust_dpo'),
  'robust_dpo, strong': case('robust_dpo', {'beta': 1.0, 'label_smoothing': 0.3}),
  'exo': case('exo'),
  'exo, strong': case('exo', {'beta': 1.0, 'label_smoothing': 0.1}),
  'slic': case('slic', {'beta': 0.5}),
  'slic, wide': case('slic', {'beta': 1.0, 'margin': 0.2}),
  'ipo': case('ipo'),
  'ipo, summed': case('ipo', {'beta': 0.5, 'average': False}),
  'sppo_hard': case('sppo_hard', {'beta': 0.4}),
  'nca': case('nca', {'beta': 0.7}),
  'bco_pair': case('bco_pair', {'beta': 0.7}),
  'bco_pair, shifted': case('bco_pair', {'beta': 0.7, 'shift': 0.4}),
  'apo_zero': case('apo_zero', {'beta': 0.7}),
  'apo_down': case('apo_down', {'beta': 0.7}),
  'aot': case('aot', {'beta': 0.7}),
  'aot, smoothed': case('aot', {'beta': 0.7, 'label_smoothing': 0.1}),
  'aot_unpaired': case('aot_unpaired', {'beta': 0.7}),
  'aot_unpaired, smoothed': case('aot_unpaired', {'beta': 0.7, 'label_smoothing': 0.1}),
  'discopop': case('discopop'),
  'discopop, wide': case('discopop', {'beta': 1.0, 'tau': 0.7}),
  'wpo': case('wpo', {'beta': 0.7, 'label_smoothing': 0.1}),
  'wpo, given weights': case(
    'wpo', {'beta': 0.7, 'max_weight': 0.4}, optional=('sequence_weights',)
  ),
  'r_dpo': case('r_dpo'),
  'r_dpo, strong': case('r_dpo', {'beta': 0.5, 'alpha': 0.3}),
  'dpop': case('dpop', {'penalty': 5.0}),
  'tdpo': case('tdpo'),
  'tdpo1': case('tdpo', {'beta': 0.7, 'alpha': 1.0, 'chosen_is_constant': False}),
  'rpo': case('rpo', {'eta': 0.5}),
  'irpo': case('irpo'),
  'kto': case('kto'),
  'kto, weighted': case(
    'kto', {'beta': 0.7, 'desirable_weight': 1.3, 'undesirable_weight': 0.6}
  ),
  'apo_zero_unpaired': case('apo_zero_unpaired', {'beta': 0.7, 'undesirable_weight': 0.6}),
  'simpo': case('simpo'),
  'simpo, smoothed': case('simpo', {'beta': 2.0, 'margin': 0.5, 'label_smoothing': 0.1}),
  'alpha_po': case('alpha_po'),
  'alpha_po, negative': case('alpha_po', {'beta': 2.0, 'margin': 0.2, 'alpha': -0.5}),
  'cpo': case('cpo', {'label_smoothing': 0.1}),
  'orpo': case('orpo', {'beta': 0.5}),
  'tpo': case('tpo', {'beta': 0.1}),
  'tpo, hinge': case('tpo', {'pair': 'hinge', 'beta': 0.1}),
  'tpo, ipo': case('tpo', {'pair': 'ipo', 'beta': 0.5}),
  'tpo, tpo-l': case('tpo', {'pair': 'tpo-l', 'beta': 2.0}),
  'xpo': case('xpo', {'alpha': 0.01}),
  'nash_md': case('nash_md'),
  'lipo_lambda': case('lipo_lambda', {'beta': 0.5}),
  'list_mle': case('list_mle', {'beta': 0.5}),
  'bradley_terry': case('bradley_terry'),
  'bradley_terry, offsets': case(
    'bradley_terry',
    {'margin': 0.2, 'center_coef': 0.0},
    formula='bradley_terry_with_offsets',
    optional=('margins',),
  ),
  'implicit_prm_loss': case('implicit_prm_loss', {'beta': 0.5}),
  'ld_dpo': case('ld_dpo', {'beta': 0.5, 'alpha': 0.3}),
  'step_cross_entropy': case('step_cross_entropy'),
  'step_cross_entropy, last step': case(
    'step_cross_entropy', {'last_step_only': True}, couples='sequence'
  ),
}
