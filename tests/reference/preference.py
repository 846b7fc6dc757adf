"""Preference objectives, sample by sample, from the formulas.

Arrays are complex: the imaginary part carries a derivative (the complex step: the slope of f at x
is Im f(x + i·h)/h, without cancellation), so a reference writes the formula once, and `constant`
where the formula has one. `gradient` collects the slopes.
"""

import numpy as np

STEP = 1e-20


def constant(x):
  return np.real(x)


def members(arrays):
  """Lists of the samples of each group whose reward counts, in their order."""
  rewards, groups = np.real(arrays['rewards']), np.real(arrays['group_ids'])
  return [
    [i for i in range(len(groups)) if groups[i] == g and np.isfinite(rewards[i])]
    for g in sorted(set(groups[groups >= 0]))
  ]


def pairs(arrays):
  """(best, worst) of each group of unequal rewards; the first of equal ones."""
  rewards = np.real(arrays['rewards'])
  for group in members(arrays):
    values = [rewards[i] for i in group]
    if values and max(values) > min(values):
      yield group[values.index(max(values))], group[values.index(min(values))]


def of_pairs(formula):
  """`formula(at, **hyper)`, at(name) -> (of the chosen, of the rejected), as a function of [N]."""

  def reference(arrays, **hyper):
    out = np.zeros(len(arrays['group_ids']), complex)
    for w, l in pairs(arrays):
      out[w] = formula(lambda name, w=w, l=l: (arrays[name][w], arrays[name][l]), **hyper)
    return out

  return reference


def gradient(reference, arrays, cotangent, names, **hyper):
  """dict: name -> d Σ cotangent·loss / d array, one entry at a time."""
  out = {}
  for name in names:
    slope = np.zeros(arrays[name].shape)
    for place in np.ndindex(*slope.shape):
      moved = np.array(arrays[name], complex)
      moved[place] += 1j * STEP
      slope[place] = np.sum(cotangent * reference({**arrays, name: moved}, **hyper)).imag / STEP
    out[name] = slope
  return out


def sigmoid(z):
  return 1 / (1 + np.exp(-z))


def log_sigmoid(z):
  return -np.log(1 + np.exp(-z))


def ratios(at):
  (now_w, now_l), (ref_w, ref_l) = at('sequence_logprobs'), at('sequence_ref_logprobs')
  return now_w - constant(ref_w), now_l - constant(ref_l)


def means(at):
  (w, l), (length_w, length_l) = at('sequence_logprobs'), at('completion_length')
  return w / constant(length_w), l / constant(length_l)


def smoothed(z, e):
  return -(1 - e) * log_sigmoid(z) - e * log_sigmoid(-z)


@of_pairs
def dpo(
  at,
  *,
  beta=0.1,
  label_smoothing=0.0,
  f_divergence='kl',
  alpha=0.5,
  margin=0.0,
  length_normalize=False,
  offsets=False,
):
  score = {
    'kl': lambda h: h,
    'forward_kl': lambda h: -np.exp(-h),
    'js': log_sigmoid,
    'alpha': lambda h: np.exp((alpha - 1) * h) / (alpha - 1),
  }[f_divergence]
  w, l = (score(h) for h in ratios(at))
  if length_normalize:
    length_w, length_l = at('completion_length')
    w, l = w / constant(length_w), l / constant(length_l)
  if offsets:
    margin = margin + constant(at('margins')[0])
  return smoothed(beta * (w - l) - margin, label_smoothing)


def dpo_with_offsets(arrays, **hyper):
  return dpo(arrays, offsets=True, **hyper)


@of_pairs
def robust_dpo(at, *, beta=0.1, label_smoothing=0.1):
  w, l = ratios(at)
  z, e = beta * (w - l), label_smoothing
  return (-(1 - e) * log_sigmoid(z) + e * log_sigmoid(-z)) / (1 - 2 * e)


@of_pairs
def exo(at, *, beta=0.1, label_smoothing=1e-3):
  w, l = ratios(at)
  p, q = sigmoid(beta * (w - l)), sigmoid(beta * (l - w))
  return p * np.log(p / (1 - label_smoothing)) + q * np.log(q / label_smoothing)


@of_pairs
def slic(at, *, beta=0.1, margin=1.0):
  w, l = ratios(at)
  gap = margin - beta * (w - l)
  return gap if gap.real > 0 else 0


@of_pairs
def ipo(at, *, beta=0.1, average=True):
  w, l = ratios(at)
  if average:
    length_w, length_l = at('completion_length')
    w, l = w / constant(length_w), l / constant(length_l)
  return (w - l - 1 / (2 * beta)) ** 2


@of_pairs
def sppo_hard(at, *, beta=0.1):
  w, l = ratios(at)
  return (w - 0.5 / beta) ** 2 + (l + 0.5 / beta) ** 2


@of_pairs
def nca(at, *, beta=0.1):
  w, l = ratios(at)
  return -log_sigmoid(beta * w) - (log_sigmoid(-beta * w) + log_sigmoid(-beta * l)) / 2


@of_pairs
def bco_pair(at, *, beta=0.1, shift=0.0):
  w, l = ratios(at)
  return -log_sigmoid(beta * w - shift) - log_sigmoid(-(beta * l - shift))


@of_pairs
def apo_zero(at, *, beta=0.1):
  w, l = ratios(at)
  return 1 - sigmoid(beta * w) + sigmoid(beta * l)


@of_pairs
def apo_down(at, *, beta=0.1):
  w, l = ratios(at)
  return sigmoid(beta * w) + 1 - sigmoid(beta * (w - l))


def _transported(arrays, differences, beta, label_smoothing):
  """differences(w, l) -> (a, b): loss of the k-th largest a against the k-th largest b, at a's."""
  found = [(w, *differences(w, l)) for w, l in pairs(arrays)]
  first = sorted(found, key=lambda row: -row[1].real)
  second = sorted(found, key=lambda row: -row[2].real)
  out = np.zeros(len(arrays['group_ids']), complex)
  for (w, a, _), (_, _, b) in zip(first, second, strict=True):
    out[w] = smoothed(beta * (a - b), label_smoothing)
  return out


def aot(arrays, *, beta=0.1, label_smoothing=0.0):
  now, ref = arrays['sequence_logprobs'], constant(arrays['sequence_ref_logprobs'])
  return _transported(
    arrays, lambda w, l: (now[w] - now[l], ref[w] - ref[l]), beta, label_smoothing
  )


def aot_unpaired(arrays, *, beta=0.1, label_smoothing=0.0):
  h = arrays['sequence_logprobs'] - constant(arrays['sequence_ref_logprobs'])
  return _transported(arrays, lambda w, l: (h[w], h[l]), beta, label_smoothing)


@of_pairs
def discopop(at, *, beta=0.1, tau=0.05):
  w, l = ratios(at)
  z = beta * (w - l)
  m = sigmoid(z / tau)
  return -(1 - m) * log_sigmoid(z) + m * np.exp(-z)


def wpo(arrays, *, beta=0.1, label_smoothing=0.0, max_weight=None):
  weights = arrays.get('sequence_weights')
  if weights is None:
    weights = wpo_weights({n: np.real(x) for n, x in arrays.items()})
  out = dpo(arrays, beta=beta, label_smoothing=label_smoothing)
  for w, l in pairs(arrays):
    weight = constant(weights[w]) * constant(weights[l])
    out[w] *= weight if max_weight is None else min(weight, max_weight)
  return out


@of_pairs
def r_dpo(at, *, beta=0.1, alpha=0.01):
  (w, l), lengths = ratios(at), at('completion_length')
  return -log_sigmoid(beta * (w - l) + alpha * constant(lengths[0] - lengths[1]))


@of_pairs
def dpop(at, *, beta=0.3, penalty=50.0):
  w, l = ratios(at)
  return -log_sigmoid(beta * (w - l - penalty * (-w if w.real < 0 else 0)))


@of_pairs
def tdpo(at, *, beta=0.1, alpha=0.5, chosen_is_constant=True):
  (w, l), (kl_w, kl_l) = ratios(at), at('sequence_forward_kl')
  kl_w = constant(kl_w) if chosen_is_constant else kl_w
  return -log_sigmoid(beta * (w - l - alpha * (kl_l - kl_w)))


@of_pairs
def rpo(at, *, beta=0.1, eta=0.005):
  w, l = ratios(at)
  return -log_sigmoid(beta * (w - l)) - eta * beta * at('sequence_logprobs')[0]


@of_pairs
def irpo(at, *, beta=0.1, nll_coef=1.0):
  w, l = ratios(at)
  return -log_sigmoid(beta * (w - l)) - nll_coef * means(at)[0]


def kto(
  arrays, *, beta=0.1, desirable_weight=1.0, undesirable_weight=1.0, with_kl=True
):
  h = arrays['sequence_logprobs'] - constant(arrays['sequence_ref_logprobs'])
  used, rewards = np.real(arrays['group_ids']) >= 0, np.real(arrays['rewards'])
  mismatched = np.real(arrays['is_mismatched']) > 0 if with_kl else np.zeros(len(h), bool)
  others = [h[i].real for i in range(len(h)) if used[i] and mismatched[i]]
  kl = max(0.0, sum(others) / len(others)) if others else 0.0
  out = np.zeros(len(h), complex)
  for i in range(len(h)):
    if not used[i] or mismatched[i] or not np.isfinite(rewards[i]):
      continue
    if rewards[i] > 0:
      out[i] = desirable_weight * (1 - sigmoid(beta * (h[i] - kl)))
    elif rewards[i] < 0:
      out[i] = undesirable_weight * (1 - sigmoid(beta * (kl - h[i])))
  return out


def apo_zero_unpaired(arrays, **hyper):
  return kto(arrays, with_kl=False, **hyper)


@of_pairs
def simpo(at, *, beta=2.5, margin=1.375, label_smoothing=0.0):
  w, l = means(at)
  return smoothed(beta * (w - l) - margin, label_smoothing)


@of_pairs
def alpha_po(at, *, beta=2.5, margin=1.375, alpha=0.25):
  w, l = ((1 - np.exp(mean) ** -alpha) / alpha for mean in means(at))
  return -log_sigmoid(beta * (w - l) - margin)


@of_pairs
def cpo(at, *, beta=0.1, nll_coef=1.0, label_smoothing=0.0):
  w, l = at('sequence_logprobs')
  return smoothed(beta * (w - l), label_smoothing) - nll_coef * means(at)[0]


@of_pairs
def orpo(at, *, beta=0.1):
  p_w, p_l = (np.exp(mean) for mean in means(at))
  return -means(at)[0] - beta * log_sigmoid(np.log(p_w / (1 - p_w)) - np.log(p_l / (1 - p_l)))


def tpo(arrays, *, pair='sigmoid', beta=0.01, nll_coef=1.0, margin=0.5):
  total, length = arrays['sequence_logprobs'], constant(arrays['completion_length'])
  rewards = np.real(arrays['rewards'])
  out = np.zeros(len(length), complex)
  for group in members(arrays):
    ranked = sorted(group, key=lambda i: -rewards[i])
    if len(ranked) < 3 or rewards[ranked[1]] == rewards[ranked[-1]]:
      continue
    gold, w = ranked[0], ranked[1]
    l = next(i for i in group if rewards[i] == rewards[ranked[-1]])
    mean = total[w] / length[w] - total[l] / length[l]
    z = beta * (total[w] - total[l])
    out[w] = {
      'sigmoid': lambda z=z: -log_sigmoid(z),
      'hinge': lambda z=z: 1 - z if z.real < 1 else 0,
      'ipo': lambda mean=mean: (mean - 1 / (2 * beta)) ** 2,
      'tpo-l': lambda mean=mean: -log_sigmoid(beta * mean - margin),
    }[pair]()
    out[w] -= nll_coef * total[gold] / length[gold]
  return out


def xpo(arrays, *, beta=0.1, alpha=1e-5):
  out, external = dpo(arrays, beta=beta), np.real(arrays['is_external']) > 0
  for w, l in pairs(arrays):
    out[w] += alpha * sum(arrays['sequence_logprobs'][i] for i in (w, l) if external[i])
  return out


def nash_md(arrays, *, beta=0.1):
  total, ref = arrays['sequence_logprobs'], constant(arrays['sequence_ref_logprobs'])
  external = np.real(arrays['is_external']) > 0
  out = np.zeros(len(total), complex)
  for group in members(arrays):
    for i in group:
      if not external[i]:
        advantage = np.real(arrays['rewards'][i]) - 0.5 - beta * (total[i].real - ref[i])
        out[i] = -advantage * total[i]
  return out


def _lists(arrays):
  """(members, their rewards) of the groups of unequal rewards."""
  rewards = np.real(arrays['rewards'])
  for group in members(arrays):
    if group and max(rewards[group]) > min(rewards[group]):
      yield group, rewards


def _list_scores(arrays, beta):
  return beta * (arrays['sequence_logprobs'] - constant(arrays['sequence_ref_logprobs']))


def lipo_lambda(arrays, *, beta=0.1):
  s, out = _list_scores(arrays, beta), np.zeros(len(arrays['group_ids']), complex)
  for group, label in _lists(arrays):
    order = sorted(group, key=lambda i: -s[i].real)
    discount = {i: 1 / np.log(1 + order.index(i) + 1) for i in group}
    for i in group:
      for j in group:
        if label[i] > label[j]:
          weight = abs(2 ** label[i] - 2 ** label[j]) * abs(discount[i] - discount[j])
          out[group[0]] += weight * np.log(1 + np.exp(-(s[i] - s[j])))
  return out


def list_mle(arrays, *, beta=0.1):
  s, out = _list_scores(arrays, beta), np.zeros(len(arrays['group_ids']), complex)
  for group, label in _lists(arrays):
    order = sorted(group, key=lambda i: -label[i])
    for k, i in enumerate(order):
      out[group[0]] += np.log(sum(np.exp(s[j]) for j in order[k:])) - s[i]
  return out


@of_pairs
def bradley_terry(at, *, margin=0.0, center_coef=0.01, offsets=False):
  w, l = at('scores')
  if offsets:
    margin = margin + constant(at('margins')[0])
  return np.log(1 + np.exp(l - w + margin)) + center_coef * (w + l) ** 2


def bradley_terry_with_offsets(arrays, **hyper):
  return bradley_terry(arrays, offsets=True, **hyper)


def implicit_prm_loss(arrays, *, beta=0.05):
  h = arrays['sequence_logprobs'] - constant(arrays['sequence_ref_logprobs'])
  out = np.zeros(len(h), complex)
  for group in members(arrays):
    for i in group:
      label, p = min(max(np.real(arrays['rewards'][i]), 0), 1), sigmoid(beta * h[i])
      out[i] = -label * np.log(p) - (1 - label) * np.log(1 - p)
  return out


def step_cross_entropy(arrays, *, last_step_only=False):
  """On rows [R, T]."""
  labels, segments = np.real(arrays['step_labels']), np.real(arrays['segment_ids'])
  out = np.zeros(labels.shape, complex)
  for row, t in np.ndindex(*labels.shape):
    later = [
      k
      for k in range(t + 1, labels.shape[1])
      if segments[row, k] == segments[row, t] and labels[row, k] >= 0
    ]
    if labels[row, t] >= 0 and segments[row, t] >= 0 and not (last_step_only and later):
      p = sigmoid(arrays['token_scores'][row, t])
      out[row, t] = -np.log(p if labels[row, t] == 1 else 1 - p)
  return out


def ld_dpo(arrays, *, beta=0.1, alpha=0.5):
  """On a packed batch: [..., T] and maps."""
  mask, slots = np.real(arrays['action_mask']) > 0, np.real(arrays['sample_slots']).astype(int)
  segments, places = np.real(arrays['segment_ids']), arrays['sample_ids'].shape[-1]
  ref = constant(arrays['ref_logprobs'])

  def tokens(sample):
    *row, place = np.unravel_index(slots[sample], arrays['sample_ids'].shape)
    where = (segments[*row] == place) & mask[*row]
    return [(*row, t) for t in np.flatnonzero(where)]

  assert places > 0
  out = np.zeros(len(slots), complex)
  for w, l in pairs(arrays):
    shared = min(len(tokens(w)), len(tokens(l)))

    def h(sample, shared=shared):
      return sum(
        (arrays['logprobs'][place] - ref[place]) * (1 if count < shared else alpha)
        for count, place in enumerate(tokens(sample))
      )

    out[w] = -log_sigmoid(beta * (h(w) - h(l)))
  return out


def wpo_weights(arrays):
  """On a packed batch: [N], constants."""
  slots, mask = arrays['sample_slots'].astype(int), arrays['action_mask'] > 0
  out = np.zeros(len(slots))
  for sample in np.flatnonzero(slots >= 0):
    *row, place = np.unravel_index(slots[sample], arrays['sample_ids'].shape)
    own = [
      np.log(np.exp(arrays['logprobs'][*row, t]) / arrays['sum_squares'][*row, t])
      for t in np.flatnonzero((arrays['segment_ids'][*row] == place) & mask[*row])
    ]
    out[sample] = np.exp(sum(own) / len(own)) if own else 1
  return out
