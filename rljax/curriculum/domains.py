"""Prompts by domain, in given shares, or in shares of what is left of them to learn from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rljax.prompts import Prompt

CURSORS, CREDITS, DRAWN, KEPT = 'cursors', 'credits', 'drawn', 'kept'


class Domains:
  """Draws each domain by its share; see `domains`."""

  def __init__(
    self,
    prompts: Sequence[Prompt],
    seed: int,
    *,
    shares: Mapping[str, float],
    by: str,
    adaptive: bool,
    memory: float,
    band: tuple[float, float],
  ) -> None:
    import grain

    self._shares, self._by, self._adaptive = dict(shares), by, adaptive
    self._memory, self._band = memory, band
    self._num_prompts, self._seed = len(prompts), seed
    self._stream = grain.MapDataset.source(prompts).shuffle(seed=seed).repeat()
    self._state = {name: dict.fromkeys(shares, 0.0) for name in (CREDITS, DRAWN, KEPT)}
    self._state[CURSORS] = dict.fromkeys(shares, 0)
    self._waiting: list[tuple[int, str]] = []  # drawn prompts of which nothing was heard

  def probabilities(self) -> dict[str, float]:
    """The share of each domain in the prompts that come next; they add up to 1."""
    rates = {name: self._rate(name) if self._adaptive else 1.0 for name in self._shares}
    weights = {name: share / rates[name] for name, share in self._shares.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}

  def _rate(self, name: str) -> float:
    """The share of its prompts that was kept, as if one more had been drawn and kept."""
    return (self._state[KEPT][name] + 1) / (self._state[DRAWN][name] + 1)

  def sample(self, num: int) -> list[Prompt]:
    """The next `num` prompts: each is of the domain that is furthest behind its share."""
    shares, credits = self.probabilities(), self._state[CREDITS]
    found = []
    for _ in range(num):
      for name, share in shares.items():
        credits[name] += share
      name = max(shares, key=credits.get)
      credits[name] -= 1
      found.append(self._next_of(name))
      self._waiting.append((found[-1].prompt_id, name))
    return found

  def _next_of(self, name: str) -> Prompt:
    cursors = self._state[CURSORS]
    for _ in range(self._num_prompts + 1):
      prompt = self._stream[cursors[name]]
      cursors[name] += 1
      if prompt.metadata.get(self._by) == name:
        return prompt
    raise ValueError(
      f'curriculum.domains: no prompt has metadata[{self._by!r}] = {name!r}, of which shares has '
      f'{self._shares[name]}'
    )

  def update(self, prompt_ids: Sequence[int], mean_rewards: Sequence[float]) -> None:
    """Counts what was kept of the prompts since the last call; what is not heard of is not."""
    low, high = self._band
    kept = Counter(int(i) for i, mean in zip(prompt_ids, mean_rewards) if low < mean < high)
    for name in self._shares:
      ids = [prompt_id for prompt_id, domain in self._waiting if domain == name]
      self._state[DRAWN][name] = self._memory * self._state[DRAWN][name] + len(ids)
      taken = sum(min(kept[i], number) for i, number in Counter(ids).items())
      self._state[KEPT][name] = self._memory * self._state[KEPT][name] + taken
    self._waiting = []

  def state_dict(self) -> dict[str, Any]:
    """What `load_state_dict` needs to go on from here; JSON."""
    run = {'seed': self._seed, 'num_prompts': self._num_prompts, 'shares': self._shares}
    numbers = {name: dict(values) for name, values in self._state.items()}
    return {**run, **numbers, 'waiting': [list(pair) for pair in self._waiting]}

  def load_state_dict(self, state: dict[str, Any]) -> None:
    """Goes on from where `state` was taken.

    Raises:
      ValueError: it was taken with another seed, number of prompts or shares.
    """
    own = self.state_dict()
    for name in ('seed', 'num_prompts', 'shares'):
      if state[name] != own[name]:
        raise ValueError(
          f'curriculum.domains: the saved {name} is {state[name]}, this run has {own[name]}; '
          'the order of prompts would differ'
        )
    self._state = {name: dict(state[name]) for name in self._state}
    self._waiting = [(prompt_id, name) for prompt_id, name in state['waiting']]


def domains(
  prompts: Sequence[Prompt],
  seed: int = 0,
  *,
  shares: Mapping[str, float],
  by: str = 'source',
  adaptive: bool = False,
  memory: float = 0.9,
  low: float = 0.0,
  high: float = 1.0,
) -> Domains:
  """Prompts of domain d with probability p_d ∝ share_d, or p_d ∝ share_d / kept_d.

  One domain with a share of 1 is a stage on that domain alone. Adaptive shares hold in what is
  trained on and not in what is drawn: of a domain whose groups teach less often, more is drawn.
  kept_d is the share of the drawn prompts of d that came back with low < mean reward < high; it
  starts at 1.

  Args:
    prompts: of all domains.
    seed: of the order within them.
    shares: domain → wanted share, relative, above 0; other domains are not drawn.
    by: key of the domain in the metadata of a prompt; a mixture calls it 'source'.
    adaptive: whether to divide by kept_d.
    memory: of the counts behind kept_d, from one iteration to the next, as a fraction.
    low, high: mean rewards between which a prompt is kept, units of the reward, both excluded; a
      group of binary rewards beyond them has no advantage.

  Raises:
    ValueError: no prompts, no shares, one that is not above 0, or an impossible memory.

  Examples:
    >>> from rljax.prompts import Prompt
    >>> prompts = [Prompt(name, i, metadata={'source': name}) for i, name in enumerate('xxyy')]
    >>> drawn = curriculum.domains(prompts, shares={'x': 1.0, 'y': 3.0})
    >>> print(drawn.probabilities(), [p.text for p in drawn.sample(8)].count('y'))
    {'x': 0.25, 'y': 0.75} 6

  Source: Apriel-Reasoner: RL Post-Training for General-Purpose and Efficient Reasoning (2026).
  Differs from the source: formula not confirmed against the paper; what counts as kept.
  """
  if not isinstance(shares, Mapping):
    raise ValueError(f'curriculum.domains: shares={shares!r}; needs a dict, domain → share')
  if not len(prompts) or not shares or not all(share > 0 for share in shares.values()):
    raise ValueError(
      f'curriculum.domains: {len(prompts)} prompts, shares={dict(shares)}; needs prompts, and '
      'shares above 0'
    )
  if not 0 <= memory < 1:
    raise ValueError(f'curriculum.domains: memory={memory}; needs 0 ≤ memory < 1')
  return Domains(
    prompts, seed, shares=shares, by=by, adaptive=adaptive, memory=memory, band=(low, high)
  )
