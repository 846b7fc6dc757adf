"""Per token, from the definition; numpy float64."""

import numpy as np


def token_statistics(logits, tokens, segment_ids, temperature, other_logits, *, beta, top_k, top_p):
  """logits [R, T, V] of each slot -> dict of [R, T]; the other's are of reference and teacher."""
  rows, length = tokens.shape
  found = {}
  for r in range(rows):
    for t in range(1, length):
      if segment_ids[r, t] < 0 or segment_ids[r, t] != segment_ids[r, t - 1]:
        continue
      logp = _log_softmax(logits[r, t - 1] / temperature[r, t])
      logq = _log_softmax(other_logits[r, t - 1] / temperature[r, t])
      for name, value in _of_slot(logp, logq, tokens[r, t], beta, top_k, top_p).items():
        found.setdefault(name, np.zeros((rows, length)))[r, t] = value
  return found


def _kl(logp, logq):
  return sum(np.exp(lp) * (lp - lq) for lp, lq in zip(logp, logq))


def _of_slot(logp, logq, token, beta, top_k, top_p):
  mixture = np.log((1 - beta) * np.exp(logp) + beta * np.exp(logq))
  jsd = beta * _kl(logq, mixture) + (1 - beta) * _kl(logp, mixture)
  largest = np.argsort(-logq)[:top_k]
  nucleus = []
  for lp in sorted(logp, reverse=True):
    if np.exp(nucleus).sum() < top_p:
      nucleus.append(lp)
  nucleus = _log_softmax(np.array(nucleus))
  return {
    'logprobs': logp[token],
    'entropy': -sum(np.exp(lp) * lp for lp in logp),
    'nucleus_entropy': -sum(np.exp(lp) * lp for lp in nucleus),
    'sum_squares': sum(np.exp(2 * lp) for lp in logp),
    'self_certainty': _kl(np.full(len(logp), -np.log(len(logp))), logp),
    'full_kl': _kl(logp, logq),
    'full_forward_kl': _kl(logq, logp),
    'teacher_reverse_kl': _kl(logp, logq),
    'teacher_forward_kl': _kl(logq, logp),
    'teacher_jsd': jsd / (beta * (1 - beta)),
    'teacher_top_k_kl': max(0, _kl(logq[largest], logp[largest])),
    'stored_kl': _kl(_with_rest(logq, largest), _with_rest(logp, largest)),
  }


def _with_rest(logp, entries):
  return np.append(logp[entries], np.log(1 - np.exp(logp[entries]).sum()))


def _log_softmax(z):
  top = max(z)
  return z - top - np.log(sum(np.exp(x - top) for x in z))
