"""Presets of rules: which logical axis of the parameters stands on which axes of the mesh.

A rule is the name of a mesh axis, several of them, or None: whole on each device. Mesh axes with
one device count for nothing, so a fuller preset serves a smaller mesh too. Rows of batches stand on
`data`, `fsdp` and `expert` under all rules, those of samples on `data` and `fsdp`; `slots`, the
sequence of activations, is no axis of parameters.
A config takes a preset, some of its rules changed, a `table`, or a function of one's own:

    config.rules.policy = dict(name='rules.fsdp_tp', kv_heads=None)

The tables are MaxText's and flax's idea of logical axis rules.
"""

from __future__ import annotations

from collections.abc import Mapping

Axes = str | tuple[str, ...] | None
Rules = Mapping[str, Axes]


def table(
  *,
  vocab: str | tuple[str, ...] | None = None,
  embed: str | tuple[str, ...] | None = None,
  heads: str | tuple[str, ...] | None = None,
  kv_heads: str | tuple[str, ...] | None = None,
  head_dim: str | tuple[str, ...] | None = None,
  mlp: str | tuple[str, ...] | None = None,
  expert: str | tuple[str, ...] | None = None,
  layers: str | tuple[str, ...] | None = None,
  slots: str | tuple[str, ...] | None = None,
) -> Rules:
  """Rules from nothing: an axis that is not named is whole on each device.

  Args:
    vocab: of embedding and head. They are never divided along the width of the model: a head that
      is divided there is gathered whole in every chunk of a log-prob.
    embed: the width of the model in all other weights.
    heads: of queries.
    kv_heads: of keys and values, and of the cache.
    head_dim: the width of a head.
    mlp: the width of the MLP, or of an expert.
    expert: experts.
    layers: the stack of layers; they are scanned, so it is whole in all presets.
    slots: the sequence of activations: None or 'sequence'.

  Examples:
    >>> {axis: on for axis, on in rules.table(mlp='tensor', embed='fsdp').items() if on}
    {'embed': 'fsdp', 'mlp': 'tensor'}
  """
  return dict(locals())


def dp() -> Rules:
  """Data parallel: weights are whole on each device, rows are divided.

  Examples:
    >>> set(rules.dp().values())
    {None}
  """
  return table()


def fsdp(*, vocab: Axes = 'fsdp', embed: Axes = 'fsdp') -> Rules:
  """Weights and optimizer state are divided like the rows, and gathered layer by layer.

  Examples:
    >>> {axis: on for axis, on in rules.fsdp().items() if on}
    {'vocab': 'fsdp', 'embed': 'fsdp'}
  """
  return table(vocab=vocab, embed=embed)


def fsdp_tp(
  *,
  vocab: Axes = ('tensor', 'fsdp'),
  embed: Axes = 'fsdp',
  heads: Axes = 'tensor',
  kv_heads: Axes = 'tensor',
  mlp: Axes = 'tensor',
) -> Rules:
  """`fsdp`, and heads, MLP and vocabulary are divided over `tensor`.

  Examples:
    >>> rules.fsdp_tp(kv_heads=None)['mlp']  # key heads whole, where they are too few
    'tensor'
  """
  return table(vocab=vocab, embed=embed, heads=heads, kv_heads=kv_heads, mlp=mlp)


def fsdp_tp_sp(
  *,
  vocab: Axes = ('tensor', 'fsdp'),
  embed: Axes = 'fsdp',
  heads: Axes = 'tensor',
  kv_heads: Axes = 'tensor',
  mlp: Axes = 'tensor',
  slots: Axes = 'sequence',
) -> Rules:
  """`fsdp_tp`, and activations are divided along the sequence over `sequence`.

  Examples:
    >>> rules.fsdp_tp_sp()['slots']
    'sequence'
  """
  return table(vocab=vocab, embed=embed, heads=heads, kv_heads=kv_heads, mlp=mlp, slots=slots)


def ep(
  *,
  vocab: Axes = ('tensor', 'expert', 'fsdp'),
  embed: Axes = 'fsdp',
  heads: Axes = 'tensor',
  kv_heads: Axes = 'tensor',
  mlp: Axes = 'tensor',
  expert: Axes = 'expert',
  slots: Axes = 'sequence',
) -> Rules:
  """`fsdp_tp_sp`, and experts are divided over `expert`: the fullest, for every mesh.

  Devices along `expert` have rows of their own and send their tokens to each other's experts.

  Examples:
    >>> rules.ep()['expert'], rules.ep()['vocab']
    ('expert', ('tensor', 'expert', 'fsdp'))
  """
  return table(
    vocab=vocab, embed=embed, heads=heads, kv_heads=kv_heads, mlp=mlp, expert=expert, slots=slots
  )
