"""The update: one compiled, donated program from a packed batch to the next train state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rljax import arrays, layouts, router, trips
from rljax.binding import Bound
from rljax.combinations import ObjectiveError
from rljax.loss_pass import are_finite, micro_loss, of_pairs
from rljax.objective import Objective
from rljax.prepare import prepare
from rljax.structs import Array, Batch, Metrics, Policy, PyTree, TrainState

UpdateStep = Callable[[TrainState, dict, Batch, dict], tuple[TrainState, Metrics]]


def init_train_state(
  params: dict[str, PyTree],
  optimizers: Mapping[str, Bound],
  key: Array,
  method_state: Mapping[str, PyTree] | None = None,
  moments: Callable[[PyTree], PyTree] | None = None,
) -> TrainState:
  """A train state at step 0 with fresh optimizers.

  Args:
    params: of the trained roles.
    optimizers: of the same roles.
    key: of the stage.
    method_state: at its start.
    moments: `first_moments` of the parameters, compiled for a layout; None = as they come.
  """
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=first_moments(params, optimizers) if moments is None else moments(params),
    key=key,
    method_state=dict(method_state or {}),
  )


def first_moments(
  params: Mapping[str, PyTree], optimizers: Mapping[str, Bound]
) -> dict[str, PyTree]:
  """The states of the optimizers of the trained roles before their first step."""
  return {role: optimizers[role]({}).init(params[role]) for role in params}


def make_update_step(
  objective: Objective,
  policies: Mapping[str, Policy],
  optimizers: Mapping[str, Bound],
  *,
  epochs: int = 1,
  chunk_size: int = 512,
) -> UpdateStep:
  """Builds `update_step(state, frozen, batch, hyper) -> (state, metrics)`; jit it with donation.

  prepare → epochs × minibatches by scan → micro-batches by fori_loop(0, num_micro[k]) with the
  gradient inside the body, summed in float32 → gradient clip and optimizer.

  A step of which loss, gradient or batch (`are_finite`) is not leaves parameters and optimizers as
  they were, bit by bit, and is counted: `update/nonfinite` (and `update/skipped`, as are empty
  minibatches). An iteration with such a step leaves the method state as it was. `step` goes on.

  Args:
    objective: the stage's.
    policies: role -> Policy, 'policy' at least.
    optimizers: trained role -> bound optimizer.
    epochs: passes over the batch; minibatches change their order, not their members.
    chunk_size: slots that pass the vocabulary at once.

  Returns:
    update_step; its `hyper` is `{**objective.hyper(i), 'optimizer': {role: …}}`.
  """
  loss = partial(micro_loss, objective=objective, policies=policies, chunk_size=chunk_size)

  def update_step(state, frozen, batch, hyper):
    key, order_key, draw_key = jax.random.split(state.key, 3)
    constant = _cast(policies, frozen)
    hyper = _controlled(objective, hyper, state.method_state)
    with jax.named_scope('prepare'):
      batch, metrics, method_state = prepare(
        batch,
        _cast(policies, state.params),
        constant,
        hyper,
        objective=objective,
        policies=policies,
        chunk_size=chunk_size,
        key=draw_key,
        method_state=state.method_state,
        step=state.step,
      )
    minibatches = batch.num_micro.shape[0]
    keys = jax.random.split(order_key, epochs)
    order = jax.vmap(lambda k: jax.random.permutation(k, minibatches))(keys).reshape(-1)
    tokens = arrays.token_arrays(batch)
    samples = {**arrays.sample_arrays(batch), 'prox_step': state.step}

    def step(carry, k):
      rows = jax.tree.map(lambda x: x[k], tokens)
      grads, seen = accumulate(
        partial(loss, frozen=constant),
        _cast(policies, carry[0]),
        rows,
        {**samples, 'step': carry[2]},
        hyper,
        batch.num_micro[k],
      )
      whole = are_finite(rows, samples, objective)
      carry, logs = _apply(carry, grads, seen, optimizers, hyper, batch.num_micro[k], whole)
      return carry, {**seen, **logs}

    (params, opt_state, count), logs = jax.lax.scan(
      step, (state.params, state.opt_state, state.step), order
    )
    metrics |= of_pairs(_over_steps(logs), objective)
    method_state |= _steered(objective, hyper, method_state, batch, metrics)
    method_state = _keep(metrics['update/nonfinite'] == 0, method_state, state.method_state)
    state = state.replace(
      step=count, params=params, opt_state=opt_state, key=key, method_state=method_state
    )
    return state, metrics

  return update_step


def make_measure(
  objective: Objective, policies: Mapping[str, Policy], *, chunk_size: int = 512
) -> Callable[..., Metrics]:
  """Builds `measure(params, frozen, batch, hyper, method_state) -> metrics` of the loss pass.

  What an update would report of a batch, without a gradient and without a change.
  """
  loss = partial(micro_loss, objective=objective, policies=policies, chunk_size=chunk_size)

  def measure(params, frozen, batch, hyper, method_state):
    constant, params = _cast(policies, frozen), _cast(policies, params)
    batch, *_ = prepare(
      batch,
      params,
      constant,
      hyper,
      objective=objective,
      policies=policies,
      chunk_size=chunk_size,
      method_state=method_state,
    )
    rows = jax.tree.map(lambda x: x[0], arrays.token_arrays(batch))
    samples = {**arrays.sample_arrays(batch), **dict.fromkeys(arrays.SCALARS, 0)}

    def micro(m):
      here = jax.tree.map(lambda x: x[m], rows)
      return loss(params, here, samples, hyper, frozen=constant)[1]

    total = _sum_micro(micro, batch.num_micro[0], batch.tokens.shape[1])
    return of_pairs(_as_metrics(total), objective)

  return measure


def _controlled(objective: Objective, hyper: Mapping[str, Any], memory: Mapping[str, PyTree]):
  """The hyper-parameters with the coefficients that controllers have set."""
  own = {name: memory[f'{name}_controller']['coefficient'] for name in objective.controllers}
  return {**hyper, 'coefficients': {**hyper['coefficients'], **own}}


def _steered(objective, hyper, memory, batch, metrics) -> dict[str, PyTree]:
  """The coefficients for the next update, from what this one has measured."""
  measured = {'kl': 'policy/kl_ref', 'entropy': 'policy/entropy'}
  samples, moved = jnp.sum(batch.group_ids >= 0), {}
  for name, bound in objective.controllers.items():
    own = f'method/{getattr(objective, name).name}/measured'  # of a term with a measure of its own
    followed = own if own in metrics else measured[name]
    if followed not in metrics:
      kl = objective.kl.name
      raise ObjectiveError(f'{name}_controller follows the diagnostic kl_ref, which {kl} lacks')
    old = memory[f'{name}_controller']
    coefficient, state = bound(
      {'measured': metrics[followed], 'num_samples': samples},
      hyper[f'{name}_controller'],
      state=old['state'],
    )
    new = {'coefficient': coefficient, 'state': state}
    metrics[f'method/{bound.name}/{name}_coef'] = old['coefficient']
    moved[f'{name}_controller'] = jax.tree.map(lambda x, o: jnp.asarray(x, o.dtype), new, old)
  return moved


def accumulate(
  loss: Callable[..., Any],
  params: PyTree,
  rows: Mapping[str, Any],
  samples: Mapping[str, Array],
  hyper: Mapping[str, Any],
  num_micro: Array,
) -> tuple[PyTree, dict[str, Array]]:
  """Σ over the used micro-batches of one minibatch.

  Args:
    loss: `micro_loss` with its static arguments.
    params: trained roles in the compute dtype.
    rows: token arrays [M, r, …].
    samples: sample arrays [N], and scalars.
    hyper: traced hyper-parameters.
    num_micro: int32 scalar ≤ M.

  Returns:
    (gradients in at least float32, metrics of the minibatch; `update/loss`: what is minimized).
  """
  # Traced twice, for its shapes and in the loop: inside jit the second time is a look-up.
  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True), inline=True)

  def micro(m):
    (value, seen), grads = gradient(params, jax.tree.map(lambda x: x[m], rows), samples, hyper)
    return {**seen, 'loss': value, 'grads': grads}

  total = _sum_micro(micro, num_micro, rows['tokens'].shape[0])
  return total.pop('grads'), {'update/loss': total.pop('loss'), **_as_metrics(total)}


def _sum_micro(
  micro: Callable[[Array], dict], num_micro: Array, capacity: int
) -> dict[str, PyTree]:
  """Σ over the used micro-batches in at least float32, of 'max' the maxima."""
  add = partial(jax.tree.map, lambda a, b: a + b.astype(a.dtype))

  def body(m, carry):
    more = micro(m)
    return {
      name: jax.tree.map(jnp.maximum, carry[name], x) if name == 'max' else add(carry[name], x)
      for name, x in more.items()
    }

  def zero(s):
    return jnp.zeros(s.shape, jnp.promote_types(s.dtype, jnp.float32))

  start = jax.tree.map(zero, jax.eval_shape(micro, jnp.zeros((), jnp.int32)))
  with trips.taken(capacity):
    return jax.lax.fori_loop(0, num_micro, body, start)


def _as_metrics(total: Mapping[str, PyTree]) -> dict[str, Array]:
  """What `micro_loss` counted, over all micro-batches: sums, means, maxima."""
  means = dict(total['mean'])
  count, drawn = (jnp.maximum(means.pop(name), 1) for name in ('count', 'drawn'))
  means = {
    name: x / (drawn if name == 'rollout/mismatch_mean' else count) for name, x in means.items()
  }
  return {**router.shares(total['total']), **means, **total['max']}


def _cast(policies: Mapping[str, Policy], params: Mapping[str, PyTree]) -> dict[str, PyTree]:
  """The weights in the compute dtype, once for all micro-batches of a step."""
  cast, params = {role: policies[role].cast for role in params}, layouts.fetch(params)
  return {role: cast[role](tree) if cast[role] else tree for role, tree in params.items()}


def _keep(good: Array, new: PyTree, old: PyTree) -> PyTree:
  """`new` if `good`, else `old`."""
  return jax.tree.map(lambda x, before: jnp.where(good, x, before), new, old)


def _apply(carry, grads, seen, optimizers, hyper, num_micro, whole):
  """One optimizer step for each trained role; skipped if loss, gradient or batch is not finite."""
  params, opt_state, count = carry
  away, opt_state = opt_state, layouts.fetch(opt_state)
  norm = optax.tree.norm(grads)
  finite = whole & jnp.isfinite(norm) & jnp.isfinite(seen['update/loss'])
  good = finite & (num_micro > 0)
  new_params, new_opt_state = {}, {}
  for role, role_params in params.items():
    transform = optimizers[role]({}, hyper['optimizer'][role])
    updates, new_opt_state[role] = transform.update(grads[role], opt_state[role], role_params)
    new_params[role] = optax.apply_updates(role_params, updates)
  kept = layouts.put_back(_keep(good, new_opt_state, opt_state), away)
  logs = {'update/grad_norm': norm, 'update/skipped': 1.0 - good, 'update/nonfinite': 1.0 - finite}
  main = 'policy' if 'policy' in params else next(iter(params))
  for _, rate in optax.tree.get_all_with_path(new_opt_state[main], 'learning_rate')[:1]:
    logs['update/lr'] = rate  # optimizers that keep their rate in their state
  return (_keep(good, new_params, params), kept, count + 1), logs


def _over_steps(logs: Mapping[str, Array]) -> dict[str, Array]:
  """Metrics [steps] → one number an iteration: sums of skipped steps, maxima, else means."""

  def reduce(name, values):
    if name in ('update/skipped', 'update/nonfinite'):
      return jnp.sum(values)
    return jnp.max(values) if name.endswith('_max') else jnp.mean(values)

  return {name: reduce(name, values) for name, values in logs.items()}
