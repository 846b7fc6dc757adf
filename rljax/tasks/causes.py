"""Causes: a probability in a causal graph, seen, made or imagined.

    prompt      z=30,70 x=20,80 y=10,40/50,90?y|do x>
    completion  30*50+70*90=78

A hidden cause z with two or more values acts on x and y, and x acts on y; all numbers are
percentages: P(z), P(x|z), P(y|¬x,z) / P(y|x,z). Three questions climb the ladder of causation:
`y|x` (association), `y|do x` (intervention) and `yx|!x!y` (counterfactual: y if x had been, where
neither was). The noise of y is one threshold: y without x implies y with it where that is likelier.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rljax.prompts import Prompt, Task
from rljax.tasks import drawn, procedural

ALPHABET = 'xyzdo0123456789=,/|?!*+> '
LEVELS = {'association': 'y|x', 'intervention': 'y|do x', 'counterfactual': 'yx|!x!y'}
_WORKED = re.compile(r'(?:\d+\*\d+(?:\+\d+\*\d+)*=)?(\d{1,3})')


def reward(completion: str, answer: float, *, tolerance: float = 2.0) -> dict[str, float]:
  """1 if the completion ends at the probability, give or take the tolerance; else 0.

  Args:
    completion: a percentage, alone or after a sum of products.
    answer: percentage.
    tolerance: percentage points; the products are of rounded numbers.

  Returns:
    'reward', and the component 'worked': whether there is a sum.
  """
  found = _WORKED.fullmatch(completion)
  is_right = found is not None and abs(int(found.group(1)) - answer) <= tolerance
  return {'reward': float(is_right), 'worked': float(found is not None and '=' in completion)}


def causes(
  *,
  level: str = 'association',
  num_values: int = 2,
  tolerance: float = 2.0,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Probabilities in a graph; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  A graph with its numbers is on one side of the split, whatever is asked about it.

  Args:
    level: 'association', 'intervention' or 'counterfactual'.
    num_values: values of z, the size of what is summed over; 2 … 4.
    tolerance: of the reward, percentage points.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all graphs that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an unknown level, or an impossible number of values.

  Examples:
    >>> task = tasks.causes(num_train=8, num_test=4)
    >>> print(task.train[0].text)
    z=80,20 x=70,90 y=20,40/70,90?y|x>

  Source: Generalization of RLVR Using Causal Reasoning as a Testbed (2025).
  Differs from the source: one family of small graphs; percentages in place of distributions.
  """
  if level not in LEVELS or not 2 <= num_values <= 4:
    raise ValueError(
      f'causes: level={level!r}, num_values={num_values}; needs one of {", ".join(LEVELS)} and '
      '2 … 4 values'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem:
    z = _shares(draw, num_values)
    x, y0, y1 = ([10 * draw.between(1, 9) for _ in z] for _ in range(3))
    rows = [','.join(map(str, row)) for row in (z, x, y0, y1)]
    graph = 'z={} x={} y={}/{}'.format(*rows)

    def write():
      weights, values = _terms(level, z, x, y0, y1)
      exact = float(sum(w * v for w, v in zip(weights, values)))
      terms = [(round(100 * w), round(v)) for w, v in zip(weights, values)]
      metadata = {'terms': tuple(terms), 'level': level}
      return f'{graph}?{LEVELS[level]}>', exact, metadata

    return drawn.Problem(graph, write)

  return drawn.drawn(
    'causes',
    propose,
    advice='raise test_fraction',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward={'name': 'tasks.causes.reward', 'tolerance': tolerance},
    demonstrate=demonstrate,
    well_formed=lambda completion: _WORKED.fullmatch(completion) is not None,
  )


def demonstrate(prompt: Prompt) -> str:
  """The sum over the values of z, of rounded percentages, and the probability."""
  said = '+'.join(f'{weight}*{value}' for weight, value in prompt.metadata['terms'])
  return f'{said}={round(prompt.answer)}'


def _shares(draw: procedural.Draw, num: int) -> list[int]:
  """`num` multiples of 10 above 0 that add up to 100."""
  cuts = sorted(draw.shuffled(range(1, 10))[: num - 1])
  return [10 * (b - a) for a, b in zip([0, *cuts], [*cuts, 10])]


def _terms(
  level: str, z: Sequence[int], x: Sequence[int], y0: Sequence[int], y1: Sequence[int]
) -> tuple[list[Fraction], list[Fraction]]:
  """(weights of the values of z that add up to 1, percentages of y given each)."""
  if level == 'intervention':
    likelihood = [Fraction(1)] * len(z)
  elif level == 'association':
    likelihood = [Fraction(p, 100) for p in x]
  else:
    likelihood = [Fraction((100 - p) * (100 - q), 10_000) for p, q in zip(x, y0)]
  joint = [share * weight for share, weight in zip(z, likelihood)]
  values = [Fraction(p) for p in y1]
  if level == 'counterfactual':
    # The threshold of y is known to lie above P(y|¬x,z).
    values = [Fraction(100 * max(b - a, 0), 100 - a) for a, b in zip(y0, y1)]
  return [w / sum(joint) for w in joint], values
