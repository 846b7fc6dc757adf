"""The FLOPs that a model needs at least: what remains of a program without recomputation."""

from __future__ import annotations

import math
from typing import Any

import jax

from rljax import arrays
from rljax.plan.programs import Abstract
from rljax.structs import Policy, PyTree

MATRICES = ('w', 'router', 'expert')  # how the names of a layer's matrices begin


def update_flops(given: Abstract) -> float:
  """Of one update: 6 FLOPs for each weight and token trained, 2 for each that is only passed.

  Every slot of a batch counts as a token of one maximal sample, as the program's loops are counted;
  attention of a token is over half of its sample. Weights under adapters have no gradient, 4 FLOPs;
  the adapters' own are left out.
  """
  layout, node, terms = given.stage.layout, given.node, given.stage.objective
  tokens = layout.minibatches * layout.micro_batches * layout.rows * layout.row_length
  total = 0.0
  for role in given.stage.optimizers:
    passes = 3.0 * node.get('epochs', 1) + (role == 'policy' and _looks_back(given))
    total += passes * tokens * _forward(given, role, layout.row_length / 2)
    if role == 'policy' and given.world.lora:
      policy, params = _whole(given, role)
      still = 2 * matmul_weights(policy, params, given.world.model)
      total -= node.get('epochs', 1) * tokens * still
  for role in terms.frozen_roles:
    total += tokens * _forward(given, role, layout.row_length / 2)
  return total


def sampler_flops(given: Abstract) -> float:
  """Of one rollout of maximal samples: each prompt and each drawn token passes once."""
  node = given.node
  drawn = node.prompts * node.samples * node.max_new_tokens
  context = node.max_prompt + node.max_new_tokens / 2
  prompts = node.prompts * node.max_prompt
  policy, params = _whole(given, 'policy')
  total = drawn * _forward(given, 'policy', context)
  head = 2 * _size(policy.head(params))
  return total + prompts * (_forward(given, 'policy', node.max_prompt / 2) - head)


def _looks_back(given: Abstract) -> bool:
  """Whether the update passes the policy once more before its first gradient."""
  return bool(given.stage.objective.needs & {*arrays.OLD, *arrays.CAPTURED})


def _forward(given: Abstract, role: str, context: float) -> float:
  """FLOPs of one token's forward pass that sees `context` tokens."""
  policy, params = _whole(given, role)
  return 2 * matmul_weights(policy, params, given.world.model) + context * _attention(policy)


def _whole(given: Abstract, role: str) -> tuple[Policy, PyTree]:
  """(policy, parameters) of a role; of one with adapters what they are added to."""
  world = given.world
  if world.lora and role in ('policy', 'reference'):
    role = 'base'
  params = {**world.params, **given.frozen}.get(role, world.params['policy'])
  return world.policies[role], params


def matmul_weights(policy: Policy, params: PyTree, model: dict[str, Any]) -> float:
  """Weights that multiply each token: matrices of the layers that it visits, and the head.

  Of a model that is no decoder all its matrices.
  """
  if 'layers' not in params:
    return float(sum(x.size for x in jax.tree.leaves(params) if x.ndim > 1))
  experts = model.get('num_experts') or 0
  share = model['experts_per_token'] / experts if experts else 1.0
  total = float(_size(policy.head(params)))
  for name, x in params['layers'].items():
    if name.startswith(MATRICES):
      total += x.size * (share if name.startswith('expert') else 1)
  return total


def _attention(policy: Policy) -> float:
  """FLOPs of one token for each token that it sees: scores and sums of values in all layers."""
  layers = jax.eval_shape(policy.init, jax.random.key(0)).get('layers')
  if layers is None:
    return 0.0
  layers, _, heads, depth = layers['wq'].shape
  return 4.0 * layers * heads * depth


def _size(tree: PyTree) -> int:
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
