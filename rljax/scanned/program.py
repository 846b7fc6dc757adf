"""The program of a run: rounds of iterations on the device, each round ended by an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rljax.structs import Array, Batch, PyTree, Requests, Rollout, TrainState


class Inputs(NamedTuple):
  """What a run's program is given.

  Attributes:
    state: at the start of the stage.
    frozen: roles that are not trained.
    seed: of the sampling noise, uint32.
    requests: of the first iteration.
    changing: fields of `Requests` that change with the iteration, and 'answer' of the prompts:
      [iterations, …].
    hyper: hyper-parameters [iterations].
    evaluation: 'seed', and 'requests' and 'answer' of the held-out prompts [calls, …].
    ends: int32 [evaluations]: iterations done before each evaluation.
  """

  state: TrainState
  frozen: dict[str, PyTree]
  seed: Array
  requests: Requests
  changing: dict[str, PyTree]
  hyper: PyTree
  evaluation: dict[str, PyTree]
  ends: Array


class Outputs(NamedTuple):
  """What a run's program gives.

  Attributes:
    state: at the end of the stage.
    metrics: name -> [iterations].
    seen: 'rewards', 'length', 'truncated' of the held-out samples, [evaluations, calls, rows].
  """

  state: TrainState
  metrics: dict[str, Array]
  seen: dict[str, Array]


def make_program(
  *,
  update_step: Callable[..., Any],
  draw: Callable[..., Rollout],
  settings: tuple[Any, Any],
  max_new_tokens: tuple[int, int],
  reward: Callable[..., Array],
  template: Batch,
  average: Callable[..., PyTree] | None = None,
  every: int = 0,
) -> Callable[[Inputs], Outputs]:
  """`program(inputs) -> Outputs`: rounds of iterations, each round ended by an evaluation.

  Args:
    update_step: as of `update.make_update_step`.
    draw: the sampler, `(params, requests, seed, settings) -> Rollout`.
    settings: the sampler's in training and in evaluation.
    max_new_tokens: in training and in evaluation.
    reward: the twin's.
    template: a batch of the stage in its layout, see `place`.
    average: the next reference from {'policy', 'reference'} and hyper-parameters.
    every: iterations between its calls; 0 = the reference stays.
  """

  def score(rollout, answer, prompt_row, width):
    completions, length = _completions(rollout, width)
    found = reward(completions, length, jax.tree.map(lambda x: x[prompt_row], answer))
    components = dict(found) if isinstance(found, Mapping) else {'reward': found}
    return components.pop('reward'), components

  def iterate(inputs, i, state, frozen):
    now = jax.tree.map(lambda x: x[i], inputs.changing)
    answer = now.pop('answer')
    requests = inputs.requests.replace(**now, policy_step=state.step)
    rollout = draw(state.params['policy'], requests, inputs.seed, settings[0])
    rewards, components = score(rollout, answer, requests.prompt_row, max_new_tokens[0])
    batch = place(template, rollout, rewards, components)
    hyper = jax.tree.map(lambda x: x[i], inputs.hyper)
    averaging = hyper.pop('reference', None)
    state, metrics = update_step(state, frozen, batch, hyper)
    if every:
      given = {'policy': state.params['policy'], 'reference': frozen['reference']}
      frozen['reference'] = jax.lax.cond(
        (i + 1) % every == 0, average, lambda given, _: given['reference'], given, averaging
      )
    shown = {f'reward/{name}': jnp.mean(x) for name, x in components.items()}
    shown |= _experience(rollout, rewards, requests.prompts.shape[0])
    return state, frozen, {**shown, **metrics}

  def evaluate(inputs, params):
    def call(asked):
      requests, answer = asked
      rollout = draw(params, requests, inputs.evaluation['seed'], settings[1])
      rewards, _ = score(rollout, answer, requests.prompt_row, max_new_tokens[1])
      length = rollout.num_tokens - rollout.prompt_length
      return {'rewards': rewards, 'length': length, 'truncated': rollout.truncated}

    asked = (inputs.evaluation['requests'], inputs.evaluation['answer'])
    return jax.lax.map(call, asked)

  def program(inputs: Inputs) -> Outputs:
    iterations = inputs.changing['prompts'].shape[0]

    def body(i, carry):
      state, moving, metrics = carry
      state, frozen, now = iterate(inputs, i, state, {**inputs.frozen, **moving})
      moving = {role: frozen[role] for role in moving}
      put = jax.lax.dynamic_update_index_in_dim
      return state, moving, jax.tree.map(lambda all, one: put(all, one, i, 0), metrics, now)

    def one_round(carry, end):
      start, run = carry
      run = jax.lax.fori_loop(start, end, body, run)
      return (end, run), evaluate(inputs, run[0].params['policy'])

    moving = {'reference': inputs.frozen['reference']} if every else {}
    first = jnp.zeros((), jnp.int32)
    shapes = jax.eval_shape(iterate, inputs, first, inputs.state, dict(inputs.frozen))[-1]
    empty = jax.tree.map(lambda s: jnp.zeros((iterations, *s.shape), s.dtype), shapes)
    start = (first, (inputs.state, moving, empty))
    (_, (state, _, metrics)), seen = jax.lax.scan(one_round, start, inputs.ends)
    return Outputs(state, metrics, seen)

  return program


def place(
  template: Batch, rollout: Rollout, rewards: Array, components: Mapping[str, Array]
) -> Batch:
  """What `data.packing.pack` does, where each row holds one sample; rows keep their order.

  Args:
    template: a batch of as many samples, whatever their tokens: it says which sample a row holds.
    rollout: all of its rows are in use.
    rewards: float [N].
    components: float [N]; those that the template has are taken.
  """
  row = template.sample_ids[..., 0]
  there = (row >= 0)[..., None]
  row, width = np.maximum(row, 0), template.tokens.shape[-1]

  def tokens(x, like, outside=0):
    x = jnp.where(rollout.mask, x, outside)
    x = jnp.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=outside)
    return jnp.where(there, x[row], outside).astype(like.dtype)

  slots = jnp.broadcast_to(jnp.arange(rollout.tokens.shape[1])[None, :], rollout.tokens.shape)
  filled = {
    'positions': tokens(slots, template.positions),
    'segment_ids': tokens(jnp.zeros_like(slots), template.segment_ids, -1),
    'rewards': rewards.astype(template.rewards.dtype),
    'reward_components': {
      name: {'reward': rewards, **components}[name].astype(like.dtype)
      for name, like in template.reward_components.items()
    },
  }
  for field in dataclasses.fields(Batch):
    x, like = getattr(rollout, field.name, None), getattr(template, field.name)
    if x is not None and like is not None:
      filled[field.name] = tokens(x, like) if x.ndim == 2 else x.astype(like.dtype)
  return jax.tree.map(jnp.asarray, template.replace(**filled))


def _completions(rollout: Rollout, width: int) -> tuple[Array, Array]:
  """(tokens [N, width] behind the prompt, how many of them before the stop token)."""
  places = rollout.prompt_length[:, None] + jnp.arange(width)[None, :]
  tokens = jnp.take_along_axis(rollout.tokens, jnp.minimum(places, rollout.tokens.shape[1] - 1), 1)
  stopped = ~rollout.truncated & (rollout.group_ids >= 0)
  return tokens, rollout.num_tokens - rollout.prompt_length - stopped


def _experience(rollout: Rollout, rewards: Array, num_prompts: int) -> dict[str, Array]:
  """What `rollouts.measures.experience_metrics` says of samples in the order of their prompts."""
  length = rollout.num_tokens - rollout.prompt_length
  spread = jnp.ptp(rewards.reshape(num_prompts, -1), axis=1)
  return {
    'reward/mean': jnp.mean(rewards),
    'reward/std': jnp.std(rewards),
    'group/zero_variance': jnp.mean(spread <= 1e-6, dtype=jnp.float32),
    'rollout/samples': jnp.sum(rollout.group_ids >= 0),
    'rollout/tokens': jnp.sum(length),
    'rollout/length_mean': jnp.mean(length, dtype=jnp.float32),
    'rollout/truncated': jnp.mean(rollout.truncated, dtype=jnp.float32),
  }
