"""Chain: a branch is chosen, then running results follow, each of which can be checked.

    prompt      7+3-4>
    completion  y+3=0-4=6

Results are modulo 10. The branch is x for an even start and y for an odd one; on the other one
nothing is worth anything, however right the steps are. So one early token decides, and a score of
the outcome alone does not tell which.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from rljax.prompts import Prompt, Task
from rljax.tasks import drawn, procedural

ALPHABET = '0123456789+-=xy>'
BRANCHES = 'xy'
STEP = 4  # characters of a step
COMPLETION = re.compile(r'[xy]([+-]\d=\d)+')
LONG = 6  # steps from which on a chain counts as long


class Way(NamedTuple):
  """What a right completion is made of: its branch, the number it starts from, its moves."""

  branch: str
  start: int
  moves: tuple[str, ...]

  @property
  def end(self) -> int:
    return functools.reduce(moved, self.moves, self.start)


def chain(
  *,
  min_steps: int = 2,
  max_steps: int = 8,
  max_move: int = 5,
  step_noise: float = 0.15,
  branch_noise: float = 0.3,
  num_train: int = 100_000,
  num_test: int = 1536,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Running sums behind a branch; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  Demonstrations go on from what they said, also where it was wrong, and on either branch.

  Args:
    min_steps, max_steps: of a chain; all numbers of steps come up equally often.
    max_move: moves are +1 … +max_move and −1 … −max_move; at most 9.
    step_noise: share of the demonstrations' steps whose result is wrong, as a fraction.
    branch_noise: share of the demonstrations that take the other branch, as a fraction.
    num_train: training prompts; a problem may come up more than once.
    num_test: held-out problems, all different.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: an impossible range, or fewer than `num_test` held-out problems.
  """
  shares = all(0 <= share <= 1 for share in (step_noise, branch_noise))
  if not 1 <= min_steps <= max_steps or not 1 <= max_move <= 9 or not shares:
    raise ValueError(
      f'chain: min_steps={min_steps}, max_steps={max_steps}, max_move={max_move}, '
      f'step_noise={step_noise}, branch_noise={branch_noise}; needs 1 ≤ min_steps ≤ max_steps, '
      '1 ≤ max_move ≤ 9 and shares of 0 to 1'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem:
    start, count = draw.below(10), draw.between(min_steps, max_steps)
    moves = tuple(f'{draw.one_of("+-")}{draw.between(1, max_move)}' for _ in range(count))
    way = Way(BRANCHES[start % 2], start, moves)
    text = f'{start}{"".join(moves)}'
    return drawn.Problem(text, lambda: (f'{text}>', way, {}))

  return drawn.drawn(
    'chain',
    propose,
    advice='raise max_steps',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='suite.chain.reward',
    demonstrate=functools.partial(
      demonstrate, step_noise=step_noise, branch_noise=branch_noise
    ),
    steps=steps,
    well_formed=is_chain,
  )


def moved(value: int, move: str) -> int:
  """The result of a step: '+3' or '-3' from a value, modulo 10."""
  return (value + int(move)) % 10


def reward(completion: str, answer: Way) -> dict[str, float]:
  """1 on the right branch with as many steps as moves and the right result at the end, else 0.

  Returns:
    'reward', the components 'branch' and 'steps' (share of the steps that are right), and once
    more the reward as 'short' or 'long', by the number of moves.
  """
  branch, *scores = [score for _, score in step_scores(completion, answer)] or [0.0]
  formed = is_chain(completion) and len(scores) == len(answer.moves)
  right = float(formed and branch == 1 and int(completion[-1]) == answer.end)
  return {
    'reward': right,
    'branch': branch,
    'steps': sum(scores) / max(len(scores), len(answer.moves)),
    'long' if len(answer.moves) >= LONG else 'short': right,
  }


def step_scores(completion: str, answer: Way) -> list[tuple[str, float]]:
  """The branch and each step, and 1 where it is right: the move, the result from the one before.

  A step behind a wrong one is right if it goes on rightly from there, and so it is on a dead
  branch: a score says nothing of what is worth going on with.
  """
  found = [(completion[:1], float(completion[:1] == answer.branch))] if completion else []
  value = answer.start
  for i, first in enumerate(range(1, len(completion), STEP)):
    said = completion[first : first + STEP]
    move = answer.moves[i] if i < len(answer.moves) else None
    found.append((said, float(move is not None and said == f'{move}={moved(value, move)}')))
    value = int(said[-1]) if said[-1:].isdigit() else value
  return found


def demonstrate(prompt: Prompt, *, step_noise: float = 0.0, branch_noise: float = 0.0) -> str:
  """A way through the chain; its noise is a function of the prompt."""
  draw = procedural.Draw('demonstration', prompt.prompt_id, prompt.text)
  return ''.join(text for text, _ in _walk(prompt.answer, draw, step_noise, branch_noise))


def steps(prompt: Prompt, draw: int) -> list[tuple[str, bool]]:
  """A way through the chain: half of the branches and a third of the steps are wrong."""
  return _walk(prompt.answer, procedural.Draw('steps', prompt.text, draw), 1 / 3, 1 / 2)


def is_chain(completion: str) -> bool:
  """Whether it is a branch and whole steps: the format without the answer."""
  return COMPLETION.fullmatch(completion) is not None


def _walk(
  way: Way, draw: procedural.Draw, step_noise: float, branch_noise: float
) -> list[tuple[str, bool]]:
  """The branch and the steps, and whether each is right."""
  is_right = not chance(draw, branch_noise)
  other = BRANCHES[1 - BRANCHES.index(way.branch)]
  found, value = [(way.branch if is_right else other, is_right)], way.start
  for move in way.moves:
    is_right, result = not chance(draw, step_noise), moved(value, move)
    value = result if is_right else (result + draw.between(1, 9)) % 10
    found.append((f'{move}={value}', is_right))
  return found


def chance(draw: procedural.Draw, share: float) -> bool:
  """True with a probability, to a millionth."""
  return draw.below(1_000_000) < share * 1_000_000
