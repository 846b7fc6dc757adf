"""Several tasks as one: prompts in given shares, each scored by the reward of its own task."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from rljax import binding
from rljax.prompts import Prompt, Task
from rljax.rewards import calls, nesting


def mixture(*, sources: Mapping[str, Any], label: str = 'mixture', seed: int = 0) -> Task:
  """Training prompts in the shares of their weights; the held-out prompts of all, by turns.

  A source of weight 0 is held out as a whole: an unseen task beside the held-out prompts of those
  that are trained on. A prompt's metadata has 'source'. Besides the reward of its task, a
  completion has the component `<source>`, so each source has a metric of its own.

  Args:
    sources: name → dict(task=<node of a task>, weight=<share, relative; 1 if it is not said>).
    label: name of the task, in metric names.
    seed: of the order within each source.

  Raises:
    ValueError: no sources, a weight below 0 or none above it, or a task whose reward is a function;
      names the source.

  Examples:
    >>> words = {'name': 'tasks.sorting', 'num_train': 8, 'num_test': 4}
    >>> sums = {'name': 'tasks.arithmetic', 'num_train': 8, 'num_test': 4}
    >>> task = tasks.mixture(sources={'words': dict(task=words, weight=3), 'sums': dict(task=sums)})
    >>> sources = [task.train[i].metadata['source'] for i in range(8)]
    >>> print(sources.count('words'), sources.count('sums'))
    6 2
  """
  import grain

  if not sources:
    raise ValueError('mixture: there are no sources')
  tasks, weights, parts, first, whole = [], [], [], 0, 0
  for number, (source, entry) in enumerate(sources.items()):
    weight = float(entry.get('weight', 1.0))
    if not weight >= 0:
      raise ValueError(f'mixture: the weight of {source!r} is {weight}; it is 0 or above')
    task = binding.bind(entry['task'])({})
    if callable(task.reward):
      raise ValueError(f'mixture: the reward of {source!r} is neither a dotted name nor a node')
    mark = functools.partial(_mark, source, task.reward, first)
    tasks.append(dataclasses.replace(task, test=Marked(task.test, mark)))
    first += max(len(task.train), len(task.test))
    if weight:
      marked = Marked(task.train, mark)
      parts.append(grain.MapDataset.source(marked).shuffle(seed=seed + number).repeat())
      weights.append(weight)
      whole += len(task.train)
  if not parts:
    raise ValueError(f'mixture: the weights of {", ".join(sources)} are all 0')
  demonstrate = {source: task.demonstrate for source, task in zip(sources, tasks)}
  candidates = {source: task.candidates for source, task in zip(sources, tasks)}
  return Task(
    name=label,
    train=Marked(grain.MapDataset.mix(parts, weights)[:whole], lambda prompt: prompt),
    test=_by_turns([task.test for task in tasks]),
    reward='tasks.mixture.reward',
    demonstrate=None
    if None in demonstrate.values()
    else lambda prompt: demonstrate[prompt.metadata['source']](prompt),
    candidates=None
    if None in candidates.values()
    else lambda prompt, draw: candidates[prompt.metadata['source']](prompt, draw),
    license='; '.join(dict.fromkeys(t.license for t in tasks if t.license)),
  )


class Marked(Sequence[Prompt]):
  """Prompts that are changed when they are asked for.

  Args:
    prompts: by index.
    change: prompt → prompt.
  """

  def __init__(self, prompts: Sequence[Prompt], change: Any) -> None:
    self._prompts, self._change = prompts, change

  def __len__(self) -> int:
    return len(self._prompts)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    if not -len(self) <= index < len(self):
      raise IndexError(f'prompt {index} of {len(self)}')
    return self._change(self._prompts[int(index) % len(self)])


def _mark(source: str, reward: str, first: int, prompt: Prompt) -> Prompt:
  metadata = {**prompt.metadata, 'source': source, 'reward': reward}
  return dataclasses.replace(prompt, prompt_id=first + prompt.prompt_id, metadata=metadata)


def _by_turns(sources: Sequence[Sequence[Prompt]]) -> Sequence[Prompt]:
  """One of each until all are used up, so that the first so many hold all sources."""
  order = [
    (source, i)
    for i in range(max(map(len, sources)))
    for source in range(len(sources))
    if i < len(sources[source])
  ]
  return Marked(order, lambda place: sources[place[0]][place[1]])


def reward(
  completion: str,
  prompt: str,
  answer: Any,
  metadata: dict[str, Any],
  tokens: tuple[int, ...],
  truncated: bool,
) -> dict[str, float]:
  """The reward of the prompt's own task, once more as the component of its source.

  Args:
    completion, prompt, answer, metadata, tokens, truncated: as every reward takes them.
  """
  given = dict(zip(calls.FIELDS, (completion, prompt, answer, metadata, tokens, truncated)))
  found = nesting.nested(metadata['reward'], metadata['source'])(given)
  return {**found, metadata['source']: found['reward']}
