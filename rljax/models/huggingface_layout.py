"""Where each parameter of the decoder stands in a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import jax
import numpy as np

from rljax.models.config import DecoderConfig
from rljax.models.parameters import is_spec, layers_of, shapes

# Our leaf → (name in the file, order of the file's axes in ours). In the file the axes of heads and
# of head_dim are one, and each layer is a tensor, or each expert of a layer.
TENSORS = {
  'embedding': ('model.embed_tokens.weight', (0, 1)),
  'head': ('lm_head.weight', (0, 1)),
  'final_norm': ('model.norm.weight', (0,)),
  'attention_norm': ('model.layers.{}.input_layernorm.weight', (0,)),
  'wq': ('model.layers.{}.self_attn.q_proj.weight', (2, 0, 1)),
  'wk': ('model.layers.{}.self_attn.k_proj.weight', (2, 0, 1)),
  'wv': ('model.layers.{}.self_attn.v_proj.weight', (2, 0, 1)),
  'wo': ('model.layers.{}.self_attn.o_proj.weight', (1, 2, 0)),
  'bq': ('model.layers.{}.self_attn.q_proj.bias', (0, 1)),
  'bk': ('model.layers.{}.self_attn.k_proj.bias', (0, 1)),
  'bv': ('model.layers.{}.self_attn.v_proj.bias', (0, 1)),
  'q_norm': ('model.layers.{}.self_attn.q_norm.weight', (0,)),
  'k_norm': ('model.layers.{}.self_attn.k_norm.weight', (0,)),
  'mlp_norm': ('model.layers.{}.post_attention_layernorm.weight', (0,)),
  'router': ('model.layers.{}.mlp.gate.weight', (1, 0)),
  'expert_gate': ('model.layers.{}.mlp.experts.{}.gate_proj.weight', (1, 0)),
  'expert_up': ('model.layers.{}.mlp.experts.{}.up_proj.weight', (1, 0)),
  'expert_down': ('model.layers.{}.mlp.experts.{}.down_proj.weight', (1, 0)),
  'w_gate': ('model.layers.{}.mlp.gate_proj.weight', (1, 0)),
  'w_up': ('model.layers.{}.mlp.up_proj.weight', (1, 0)),
  'w_down': ('model.layers.{}.mlp.down_proj.weight', (1, 0)),
}
# Other names of layers that norm what they add, too.
POST_NORMS = {
  'attention_post_norm': ('model.layers.{}.post_attention_layernorm.weight', (0,)),
  'mlp_norm': ('model.layers.{}.pre_feedforward_layernorm.weight', (0,)),
  'mlp_post_norm': ('model.layers.{}.post_feedforward_layernorm.weight', (0,)),
}
# A critic's head has no place in the format; it stands in a file of its own beside the model.
VALUE_FILE = 'value_head.safetensors'
VALUE_NAME = 'value_head.weight'


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One parameter of ours and its tensors in the files.

  Attributes:
    path: in our pytree.
    shape, axes: of ours.
    names: in the files, in the order of the stacked axes.
    order: of a tensor's axes in ours.
    stacked: leading axes of ours over which the tensors go: layers, and experts.
  """

  path: tuple[str, ...]
  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  names: tuple[str, ...]
  order: tuple[int, ...]
  stacked: int

  @property
  def split(self) -> tuple[int, ...]:
    """The shape of one tensor in the file's order, heads and head_dim apart."""
    shape = self.shape[self.stacked :]
    return tuple(shape[i] for i in np.argsort(self.order))

  @property
  def file_shape(self) -> tuple[int, ...]:
    """The shape of one tensor in the file."""
    axes = self.axes[self.stacked :]
    axes = [axes[i] for i in np.argsort(self.order)]
    if 'head_dim' not in axes:
      return self.split
    at = axes.index('head_dim')
    return (*self.split[: at - 1], math.prod(self.split[at - 1 : at + 1]), *self.split[at + 1 :])

  def places(self) -> Iterator[tuple[tuple[int, ...], str]]:
    """(index in the stacked axes, name) of each tensor."""
    yield from zip(np.ndindex(self.shape[: self.stacked]), self.names)

  def from_file(self, tensor: np.ndarray) -> np.ndarray:
    """A tensor of the file as our leaf, or its part at one place: a view."""
    return tensor.reshape(self.split).transpose(self.order)

  def to_file(self, array: np.ndarray) -> np.ndarray:
    """The inverse of `from_file`."""
    return array.transpose(np.argsort(self.order)).reshape(self.file_shape)


def layout(config: DecoderConfig) -> list[Leaf]:
  """All parameters, in the order of the pytree."""
  out = []
  tensors = TENSORS | (POST_NORMS if config.post_norms else {})
  for path, (shape, axes) in jax.tree.leaves_with_path(shapes(config), is_leaf=is_spec):
    path = tuple(key.key for key in path)
    if path[-1] == 'value_head':
      order = (0,) if len(shape) == 1 else (1, 0)
      out.append(Leaf(path, shape, axes, (VALUE_NAME,), order, 0))
      continue
    name, order = tensors[path[-1]]
    stacked = name.count('{}')
    numbers = [layers_of(config, path[-1]), range(config.num_experts)][:stacked]
    names = [name.format(*place) for place in itertools.product(*numbers)]
    out.append(Leaf(path, shape, axes, tuple(names), order, stacked))
  return out
