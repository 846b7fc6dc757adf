"""A resolved config → its meshes, and where the parameters of each role stand on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from rljax import binding, layouts, models, sharding, shares
from rljax.build_model import Model, add_adapters, build_draft
from rljax.rollouts import SamplerProgram
from rljax.rules import Rules
from rljax.structs import Policy, PyTree
from rljax.tokenization import Tokenizer


@dataclasses.dataclass(frozen=True)
class Placement:
  """The devices of a run.

  Attributes:
    mesh: of the devices that train.
    sample_mesh: of those that sample; the same object where nothing differs.
    rules: role → logical axis → mesh axes; 'sample': of the copy that samples.
    offloads_reference: whether the reference stands in the host's memory.
  """

  mesh: jax.sharding.Mesh
  sample_mesh: jax.sharding.Mesh
  rules: dict[str, Rules]
  offloads_reference: bool

  def policies(
    self, node: Any, model: Model, key: jax.Array, make: Callable[..., PyTree]
  ) -> tuple[Any, ...]:
    """(adapters or None, what they stand on, policies and parameters of policy and reference);
    `make` as in `build_model`.
    """
    if not node:
      both = dict.fromkeys(('policy', 'reference'), model.policy)
      return None, {}, both, {'policy': model.params}
    key = jax.random.fold_in(key, 2)
    lora, params = add_adapters(node, model, self.mesh, key, self.rules['policy'], make)
    # The update casts role by role, the sampler adapters and base at once.
    apart = lora.policy._replace(cast=None)
    policies = {'policy': apart, 'reference': apart, 'base': model.policy}
    return lora, {'base': model.params}, policies, {'policy': params}

  def mover(
    self, policy: Policy, role: str, cast: Callable[[PyTree], PyTree] | None
  ) -> layouts.Mover | None:
    """What takes the parameters of a role from where they train to where they sample, if they
    stand elsewhere; in the compute dtype.

    Args:
      policy: without adapters.
      role: whose rules hold where it trains.
      cast: `Policy.cast`, of the policy with its adapters, if it has some: they are added in.
    """
    before = sharding.policy_shardings(policy, self.mesh, self.rules[role])
    after = sharding.policy_shardings(policy, self.sample_mesh, self.rules['sample'])
    return layouts.mover(before, after, cast)

  def of_reference(self, axes: PyTree, params: PyTree) -> PyTree:
    """`NamedSharding` of each parameter of the reference; `axes` as in `Policy`."""
    found = sharding.param_shardings(axes, params, self.mesh, self.rules['reference'])
    return layouts.on_host(found) if self.offloads_reference else found

  def programs(
    self,
    config: Any,
    policies: Mapping[str, Policy],
    base: dict[str, PyTree],
    node: dict[str, Any],
    tokenizer: Tokenizer,
    key: jax.Array,
  ) -> dict[str, SamplerProgram]:
    """Role → its sampler, with the draft model where a stage asks for one.

    Args:
      config: resolved.
      policies: role → policy.
      base: what the policy's adapters stand on, or {}.
      node: of the policy's model.
      tokenizer, key: of the draft model.

    Raises:
      ValueError: see `build_draft`.
    """
    mesh, draft, out = self.sample_mesh, None, {}
    stages = [config[name] for name in config.stages]
    if any(s.get('sampler') and s.sampler.speculate == 'draft' for s in stages):
      key = jax.random.fold_in(key, 1)
      draft = build_draft(config.draft, node, tokenizer, mesh, key, self.rules['sample'])
    for role in [name for name in ('policy', 'teacher') if name in policies]:
      beside = base if role == 'policy' else {}
      plain = policies['base'] if beside else policies[role]
      move = self.mover(plain, role, policies[role].cast)
      policy = policies[role] if mesh is self.mesh else sharding.on_mesh(policies[role], mesh)
      policy = policy if draft is None else models.with_draft(policy, draft.policy)
      out[role] = SamplerProgram(policy, mesh, draft and draft.params, beside, move)
    return out


def place(config: Any, devices: Sequence[Any] | None = None) -> Placement:
  """The placement that a config asks for.

  Args:
    config: resolved.
    devices: those that there are; None = `jax.devices()`.

  Raises:
    ValueError: devices that there are not, a mesh that does not fit them, rules that do not fit the
      mesh, or memory of the host that the devices cannot reach.
  """
  train, apart = (
    layouts.devices_of(config.devices[name], f'devices.{name}', devices) or None
    for name in ('train', 'sample')
  )
  mesh = sharding.make_mesh(**config.mesh, devices=train or devices)
  sample_mesh = layouts.sampling_mesh(mesh, config.sample_mesh, apart)
  if any(config.offload.values()):
    layouts.check_host_memory(mesh)
  named = {role: binding.bind(node)({}) for role, node in config.rules.items() if node}
  rules = {role: named.get(role, named['policy']) for role in config.rules if role != 'sample'}
  rules['sample'] = layouts.without_rows(named.get('sample', named['policy']))
  for role, of_role in rules.items():
    layouts.check_rules(of_role, f'rules.{role}')
  layouts.check_mesh(mesh, rules['policy'], 'rules.policy')
  held = [shares.of_mesh(each, sharding.ROWS) for each in (mesh, sample_mesh)]
  if len({(len(each), each.own) for each in held}) > 1:
    raise ValueError(
      f'sample_mesh {dict(sample_mesh.shape)}: the processes do not hold the same rows in it as in '
      f'mesh {dict(mesh.shape)}'
    )
  return Placement(mesh, sample_mesh, rules, config.offload.reference)
