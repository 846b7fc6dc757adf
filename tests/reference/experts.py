"""A layer of experts as loops over tokens, choices and features, in numpy float64."""

import math

import numpy as np


def mix_experts(x, router, gate, up, down, *, num_chosen, norm_topk, choice=None):
  """(y [N, D], chosen [N, k]) of tokens x [N, D]; `choice` [N, k] replaces it where it is not −1.

  router [D, E]; gate, up [E, D, F]; down [E, F, D].
  """
  out, chosen = np.zeros_like(x), np.zeros((len(x), num_chosen), int)
  for t, token in enumerate(x):
    scores = [math.exp(float(np.dot(token, router[:, e]))) for e in range(router.shape[1])]
    probs = [score / sum(scores) for score in scores]
    ids = sorted(range(len(probs)), key=lambda e: -probs[e])[:num_chosen]
    if choice is not None and choice[t][0] >= 0:
      ids = list(choice[t])
    total = sum(probs[e] for e in ids) if norm_topk else 1.0
    for e in ids:
      for f in range(gate.shape[2]):
        a, b = float(np.dot(token, gate[e][:, f])), float(np.dot(token, up[e][:, f]))
        inner = a / (1 + math.exp(-a)) * b
        for d in range(len(token)):
          out[t, d] += probs[e] / total * inner * down[e][f, d]
    chosen[t] = ids
  return out, chosen


def load_balance(probs, choices, action_mask, segment_ids):
  """(loss [R, T], its derivative by probs [R, T, L, E]) of rows."""
  loss, slope = np.zeros(action_mask.shape), np.zeros(probs.shape)
  layers, count = probs.shape[-2:]
  for r, t in zip(*np.nonzero(action_mask)):
    own = [s for s in np.nonzero(action_mask[r])[0] if segment_ids[r, s] == segment_ids[r, t]]
    for layer in range(layers):
      asked = [e for s in own for e in choices[r, s, layer]]
      for e in range(count):
        slope[r, t, layer, e] = count * asked.count(e) / len(asked) / layers
        loss[r, t] += slope[r, t, layer, e] * probs[r, t, layer, e]
  return loss, slope
