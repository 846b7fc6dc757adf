"""Per token, from the definition; numpy float64."""

import numpy as np


def token_statistics(logits, tokens, segment_ids, temperature, ref_logits=None):
  """logits [R, T, V] of each slot -> dict of [R, T]: logprobs, entropy, full_kl."""
  rows, length = tokens.shape
  found = {name: np.zeros((rows, length)) for name in ('logprobs', 'entropy', 'full_kl')}
  for r in range(rows):
    for t in range(1, length):
      if segment_ids[r, t] < 0 or segment_ids[r, t] != segment_ids[r, t - 1]:
        continue
      logp = _log_softmax(logits[r, t - 1] / temperature[r, t])
      found['logprobs'][r, t] = logp[tokens[r, t]]
      for v, lp in enumerate(logp):
        found['entropy'][r, t] -= np.exp(lp) * lp
        if ref_logits is not None:
          logq = _log_softmax(ref_logits[r, t - 1] / temperature[r, t])
          found['full_kl'][r, t] += np.exp(lp) * (lp - logq[v])
  return found


def _log_softmax(z):
  top = max(z)
  return z - top - np.log(sum(np.exp(x - top) for x in z))
