"""Paths: a shortest way between two nodes of a small undirected graph.

    prompt      ab,cb,ad,dc,ec?ae>
    completion  abce, or adce
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from rljax.prompts import Task
from rljax.tasks import drawn, procedural
from rljax.tasks.words import LETTERS, demonstrate, is_word

ALPHABET = LETTERS + ',?>'


def reward(completion: str, answer: str, metadata: dict) -> dict[str, float]:
  """1 if the completion is a shortest path, any of them, else 0.

  Args:
    completion: the nodes from start to goal, both included.
    answer: a shortest path.
    metadata: 'edges', each of two nodes.

  Returns:
    'reward', and the component 'valid': 1 if it is a path from start to goal that visits no node
    twice, of whatever length.
  """
  edges = {frozenset(edge) for edge in metadata['edges']}
  valid = (
    completion[:1] == answer[0]
    and completion[-1:] == answer[-1]
    and len(set(completion)) == len(completion)
    and all(frozenset(step) in edges for step in itertools.pairwise(completion))
  )
  return {'reward': float(valid and len(completion) == len(answer)), 'valid': float(valid)}


def paths(
  *,
  num_nodes: int = 8,
  num_edges: int = 10,
  min_steps: int = 2,
  num_train: int = 100_000,
  num_test: int = 1024,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Shortest paths; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  A graph is on one side of the split, in whatever order its edges and their ends stand and between
  whichever nodes the path is.

  Args:
    num_nodes: nodes that edges are drawn between; at most 26.
    num_edges: of the graph.
    min_steps: edges of the shortest path, at least.
    num_train: training prompts; a graph may come up more than once.
    num_test: held-out graphs, all different.
    test_fraction: share of all graphs that is held out, as a fraction.
    seed: of the graphs, not of the split.

  Raises:
    ValueError: an impossible graph, or fewer than `num_test` held-out ones.

  Examples:
    >>> task = tasks.paths(num_nodes=5, num_edges=5, num_train=8, num_test=4)
    >>> print(task.train[0].text, task.demonstrate(task.train[0]))
    js,my,jb,yb,mj?ms> mjs
  """
  most = num_nodes * (num_nodes - 1) // 2
  if not (
    2 <= num_nodes <= len(LETTERS)
    and 1 <= min_steps < num_nodes
    and min_steps <= num_edges <= most
  ):
    raise ValueError(
      f'paths: num_nodes={num_nodes}, num_edges={num_edges}, min_steps={min_steps}; needs 2 ≤ '
      f'num_nodes ≤ {len(LETTERS)}, 1 ≤ min_steps < num_nodes and min_steps ≤ num_edges ≤ '
      'num_nodes·(num_nodes − 1)/2'
    )

  def propose(draw: procedural.Draw) -> drawn.Problem | None:
    nodes = draw.shuffled(LETTERS)[:num_nodes]
    edges = [
      ''.join(draw.shuffled(pair))
      for pair in draw.shuffled(itertools.combinations(nodes, 2))[:num_edges]
    ]
    found = shortest(draw.one_of(nodes), edges)
    goals = [node for node in sorted(found) if len(found[node]) > min_steps]
    if not goals:
      return None

    def write():
      answer = found[draw.one_of(goals)]
      return f'{",".join(edges)}?{answer[0]}{answer[-1]}>', answer, {'edges': tuple(edges)}

    return drawn.Problem(','.join(sorted(''.join(sorted(edge)) for edge in edges)), write)

  return drawn.drawn(
    'paths',
    propose,
    advice='raise num_nodes, or lower num_edges or min_steps',
    num_train=num_train,
    num_test=num_test,
    test_fraction=test_fraction,
    seed=seed,
    reward='tasks.paths.reward',
    demonstrate=demonstrate,
    well_formed=functools.partial(is_word, letters=frozenset(LETTERS)),
  )


def shortest(start: str, edges: Sequence[str]) -> dict[str, str]:
  """Node → a shortest path to it, for every node that can be reached."""
  found = {start: start}
  last = [start]
  while last:
    reached = []
    for node, edge in itertools.product(last, edges):
      if node in edge and (other := edge.replace(node, '')) not in found:
        found[other] = found[node] + other
        reached.append(other)
    last = reached
  return found
