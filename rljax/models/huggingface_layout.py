"""Where each parameter of the decoder stands in a Hugging Face directory."""

from __future__ import annotations

import dataclasses
import math

import jax
import numpy as np

from rljax.models.config import DecoderConfig
from rljax.models.parameters import is_spec, shapes

# Our leaf → (name in the file, order of the file's axes in ours). In the file the axes of heads and
# of head_dim are one, and each layer is a tensor.
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
  'w_gate': ('model.layers.{}.mlp.gate_proj.weight', (1, 0)),
  'w_up': ('model.layers.{}.mlp.up_proj.weight', (1, 0)),
  'w_down': ('model.layers.{}.mlp.down_proj.weight', (1, 0)),
}
# A critic's head has no place in the format; it stands in a file of its own beside the model.
VALUE_FILE = 'value_head.safetensors'
VALUE_NAME = 'value_head.weight'


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One parameter of ours and its tensors in the files (one for each layer, or one)."""

  path: tuple[str, ...]
  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  names: tuple[str, ...]
  order: tuple[int, ...]
  stacked: bool

  @property
  def split(self) -> tuple[int, ...]:
    """The shape of one tensor in the file's order, heads and head_dim apart."""
    shape = self.shape[1:] if self.stacked else self.shape
    return tuple(shape[i] for i in np.argsort(self.order))

  @property
  def file_shape(self) -> tuple[int, ...]:
    """The shape of one tensor in the file."""
    axes = self.axes[1:] if self.stacked else self.axes
    axes = [axes[i] for i in np.argsort(self.order)]
    if 'head_dim' not in axes:
      return self.split
    at = axes.index('head_dim')
    return (*self.split[: at - 1], math.prod(self.split[at - 1 : at + 1]), *self.split[at + 1 :])

  def from_file(self, tensor: np.ndarray) -> np.ndarray:
    """A tensor of the file as (one layer of) our leaf: a view."""
    return tensor.reshape(self.split).transpose(self.order)

  def to_file(self, array: np.ndarray) -> np.ndarray:
    """The inverse of `from_file`."""
    return array.transpose(np.argsort(self.order)).reshape(self.file_shape)


def layout(config: DecoderConfig) -> list[Leaf]:
  """All parameters, in the order of the pytree."""
  out = []
  for path, (shape, axes) in jax.tree.leaves_with_path(shapes(config), is_leaf=is_spec):
    path = tuple(key.key for key in path)
    if path[-1] == 'value_head':
      order = (0,) if len(shape) == 1 else (1, 0)
      out.append(Leaf(path, shape, axes, (VALUE_NAME,), order, False))
      continue
    name, order = TENSORS[path[-1]]
    stacked = path[0] == 'layers'
    names = [name.format(i) for i in range(config.num_layers)] if stacked else [name]
    out.append(Leaf(path, shape, axes, tuple(names), order, stacked))
  return out
