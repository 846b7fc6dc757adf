"""Rewards that pay for differing from the others of the group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from rljax.rewards import embeddings, groups


def majority_novelty(
  completions: Sequence[str],
  *,
  extract: str | Callable[[str], Hashable | None] = '',
  tag: str = '',
  alpha: float = 0.5,
  n: int = 3,
  embed: embeddings.Embed | None = None,
) -> list[dict[str, float]]:
  """The most frequent answer decides the sign, novelty among those of one side how much.

  Novelty is 1 − (α·mean cosine to the others of one's side + (1 − α)·greatest cosine to any other),
  scaled to u in [0, 1] by the least and the greatest of each side (0 where they are equal). The
  majority gets ½ + u/2, the others −1 + u/2, a completion without an answer −1; it is compared
  with no other.

  Args:
    completions: of a group.
    extract, tag: of the answer, see `groups.majority`.
    alpha: α, weight of one's own side, as a fraction.
    n: characters of an n-gram, where there is no `embed`.
    embed: `embed(texts) -> vectors`, such as an encoder of this process; None = how often each
      n-gram of characters occurs.

  Returns:
    For each 'reward', and the components 'majority' (what `groups.majority` gives), 'share',
    'answered' and 'novelty' (before it is scaled; not there without an answer).

  Raises:
    ValueError: alpha outside of [0, 1], n < 1, or vectors that do not fit.

  Source: Evolving Language Models without Labels: Majority Drives Selection, Novelty Promotes
    Variation (2025), EVOL-RL.
  Differs from the source: n-grams in the place of an encoder, where none is given; formula not
    confirmed against the paper.
  """
  _check_novelty(alpha, n)
  votes = groups.majority(completions, extract=extract, tag=tag)
  chosen = [i for i, vote in enumerate(votes) if vote['answered']]
  texts = [completions[i] for i in chosen]
  if embed is None:
    vectors = [embeddings.counts(embeddings.ngrams(text, n)) for text in texts]
  else:
    vectors = embeddings.embedded('majority_novelty', texts, embed)
  sides = [votes[i]['reward'] for i in chosen]
  novelty = [_novelty(place, vectors, sides, alpha) for place in range(len(chosen))]
  scaled = _scaled(novelty, sides)
  found = [{**vote, 'reward': -1.0, 'majority': vote['reward']} for vote in votes]
  for place, i in enumerate(chosen):
    base = 0.5 if sides[place] else -1.0
    found[i] |= {'reward': base + scaled[place] / 2, 'novelty': novelty[place]}
  return found


def _check_novelty(alpha: float = 0.5, n: int = 3, **_: object) -> None:
  if not 0 <= alpha <= 1 or n < 1:
    raise ValueError(f'majority_novelty: alpha={alpha}, n={n}; needs 0 ≤ alpha ≤ 1 and n ≥ 1')


majority_novelty.level = 'group'
majority_novelty.check = _check_novelty
majority_novelty.objects_in = ('embed',)


def _novelty(
  place: int, vectors: Sequence[embeddings.Vector], sides: Sequence[float], alpha: float
) -> float:
  others = [j for j in range(len(vectors)) if j != place]
  alike = {j: embeddings.cosine(vectors[place], vectors[j]) for j in others}
  own = [alike[j] for j in others if sides[j] == sides[place]]
  mean = sum(own) / len(own) if own else 0.0
  return 1 - (alpha * mean + (1 - alpha) * max(alike.values(), default=0.0))


def _scaled(values: Sequence[float], sides: Sequence[float]) -> list[float]:
  """Each value between the least (0) and the greatest (1) of its side."""
  found = []
  for value, side in zip(values, sides):
    own = [other for other, of in zip(values, sides) if of == side]
    low, high = min(own), max(own)
    found.append((value - low) / (high - low) if high - low > 1e-9 else 0.0)
  return found
