"""The jitted sampler with its host side: prompts in, rollout and completions out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rljax import hosts
from rljax.environments import Environment
from rljax.prompts import Completion, Prompt
from rljax.rollouts.episodes import play
from rljax.rollouts.programs import LiveRollout, SamplerProgram
from rljax.sampling import filters_in_use, make_requests
from rljax.sampling.slots import SAMPLE_FIELDS
from rljax.shares import ALONE, Shares
from rljax.structs import PyTree, Requests, Rollout, SamplerSettings
from rljax.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True)
class Generator:
  """One compiled sampler of fixed shapes: `prompts` × `samples` rows.

  Attributes:
    program: the sampler of the policy, `(params, requests, seed, settings) -> Rollout`.
    tokenizer: of the policy.
    place: puts the arrays of `Requests` on the devices of the mesh.
    prompts, samples: Q prompts of a call and samples of each.
    max_prompt, max_new_tokens: tokens.
    temperature, top_k, top_p, min_p: of the draws; see `Requests`.
    seed: of the noise.
    capture: what the sampler records besides, see `SamplerSettings`.
    sampler: how it works: fields of `SamplerSettings` such as slots and window.
    environment: what answers the policy's turns; None = a completion is one turn.
    shares: which rows each process holds.
  """

  program: SamplerProgram
  tokenizer: Tokenizer
  place: Callable[[Requests], Requests]
  prompts: int
  samples: int
  max_prompt: int
  max_new_tokens: int
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  min_p: float = 0.0
  seed: int = 0
  capture: tuple[str, ...] = ()
  sampler: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  environment: Environment | None = None
  shares: Shares = ALONE

  @property
  def max_length(self) -> int:
    """Tokens of the longest possible sample."""
    return self.max_prompt + self.max_new_tokens

  @property
  def settings(self) -> SamplerSettings:
    """What the program is compiled for."""
    used = filters_in_use(top_k=self.top_k, top_p=self.top_p, min_p=self.min_p)
    return SamplerSettings(
      length=self.max_length,
      max_new_tokens=self.max_new_tokens,
      filters=used,
      capture=self.capture,
      turns=self.environment is not None,
      **self.sampler,
    )

  def requests(
    self, prompts: Sequence[Prompt], draw_ids: Sequence[int], **changes: Any
  ) -> Requests:
    """Requests (numpy) for at most `self.prompts` prompts; `changes` go to `make_requests`."""
    arguments = {
      'samples_per_prompt': self.samples,
      'max_prompt': self.max_prompt,
      'max_new_tokens': self.max_new_tokens,
      'temperature': self.temperature,
      'stop_ids': self.tokenizer.eos_ids,
      'top_k': self.top_k,
      'top_p': self.top_p,
      'min_p': self.min_p,
      'num_prompts': self.prompts,
      'length': self.max_length,
      'prompt_ids': [p.prompt_id for p in prompts],
      **changes,
    }
    if self.environment is not None:
      arguments |= self._turn_limits(arguments)
    return make_requests([p.tokens for p in prompts], draw_ids=draw_ids, **arguments)

  def _turn_limits(self, arguments: dict[str, Any]) -> dict[str, Any]:
    """What ends a turn."""
    stops = [self.tokenizer.encode(text) for text in self.environment.stops]
    return {
      'stop_ids': [*arguments['stop_ids'], *(ids[0] for ids in stops if len(ids) == 1)],
      'stop_sequences': [ids for ids in stops if len(ids) > 1],
      'max_new_tokens': self.environment.turn_tokens or arguments['max_new_tokens'],
    }

  def sample(
    self, params: PyTree, requests: Requests, prompts: Sequence[Prompt]
  ) -> tuple[Rollout, list[Completion], dict[str, np.ndarray], dict[str, Any]]:
    """Completions of the prompts' requests, or whole episodes where there is an environment.

    Returns:
      (rollout in numpy, completions of its used rows, extras of a method's own, metrics). The
      last two are of episodes, see `episodes.play`.
    """
    if self.environment is not None:
      return play(self, params, requests, prompts)
    rollout = self._shared(params, requests) if hosts.count() > 1 else fetch(self(params, requests))
    return rollout, self.completions(rollout, prompts), {}, {}

  def _shared(self, params: PyTree, requests: Requests) -> Rollout:
    """The rollout of all processes: token arrays have this one's rows, the others 0 but prompts."""
    order, dealt = self.dealt(requests)
    hosts.meet('the sampler')
    rollout = self.shares.join(self.shares.read(self(params, dealt)), order)
    return self.with_prompts(rollout, requests)

  def dealt(self, requests: Requests) -> tuple[np.ndarray, Requests]:
    """(an order of the rows in which each stands where its share is, the requests in it)."""
    if hosts.count() == 1:
      return np.arange(len(requests.group_ids)), requests
    order = self.shares.deal(requests.draw_ids, np.asarray(requests.group_ids) >= 0)
    rows = {name: getattr(requests, name) for name in SAMPLE_FIELDS}
    return order, requests.replace(**jax.tree.map(lambda x: x[order], rows))

  def with_prompts(self, rollout: Rollout, requests: Requests) -> Rollout:
    """The rollout with the prompts of all rows, also those whose tokens other processes have."""
    width = requests.prompts.shape[1]
    given = np.arange(width) < rollout.prompt_length[:, None]
    prompts = np.where(given, requests.prompts[requests.prompt_row], rollout.tokens[:, :width])
    rollout.tokens[:, :width] = prompts
    return rollout

  def __call__(self, params: PyTree, requests: Requests) -> Rollout:
    """Dispatches the sampler; the rollout's arrays are futures on the device.

    Raises:
      ValueError: there is an environment.
    """
    return self.program(params, self.place(requests), np.uint32(self.seed), self.settings)

  def stream(
    self, params: PyTree, requests: Requests, num_windows: int
  ) -> Iterator[tuple[np.ndarray, Rollout]]:
    """The samples of `__call__` as they end, see `SamplerProgram.stream`."""
    seed = np.uint32(self.seed)
    return self.program.stream(params, self.place(requests), seed, self.settings, num_windows)

  def start(self, params: PyTree, requests: Requests) -> LiveRollout:
    """The rollout whose turns an environment answers."""
    width = self.environment.max_observation
    given = (self.program, params, self.place(requests), np.uint32(self.seed), self.settings)
    return LiveRollout(*given, width, self.shares)

  def completions(self, rollout: Rollout, prompts: Sequence[Prompt]) -> list[Completion]:
    """The used samples of a rollout on the host, in its order.

    Args:
      rollout: numpy arrays of the prompts' requests.
      prompts: those of the requests; `group_ids` index them.
    """
    out = []
    for row in np.flatnonzero(rollout.group_ids >= 0):
      start, end = int(rollout.prompt_length[row]), int(rollout.num_tokens[row])
      is_here = self.shares.answers_for(rollout.draw_ids[row])
      tokens = tuple(rollout.tokens[row, start:end].tolist()) if is_here else ()
      out.append(
        Completion(
          prompt=prompts[int(rollout.group_ids[row])],
          tokens=tokens,
          text=self.tokenizer.decode(tokens),
          truncated=bool(rollout.truncated[row]),
          draw_id=int(rollout.draw_ids[row]),
          sample_index=int(rollout.sample_index[row]),
          is_here=is_here,
        )
      )
    return out


def fetch(rollout: Rollout) -> Rollout:
  """The rollout as numpy arrays; waits for the device."""
  return jax.device_get(rollout)
