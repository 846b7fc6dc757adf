"""The suite gpu: decode and update of larger shapes in bfloat16, beside torch on the same card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from speed import ours, roofline, timing, traces
from speed.context import Context, check
from speed.hlo import Product
from speed.shapes import FOUR_OF_7B, QWEN3_0_6B, TINY, Shape, Work

# Dense bfloat16 products, operations a second, from the makers' data sheets.
DATA_SHEET = {'H200': 989e12, 'H100': 989e12, 'A100': 312e12}
CARD = {'device': 'gpu'}


def decode(context: Context) -> dict:
  """256 rows with a live context of 960 … 1088 tokens; prefill is measured apart and taken off."""
  work = Work(QWEN3_0_6B, prompts=32, samples=8, prompt=960, completion=128)
  if context.tiny:
    work = Work(tiny(), prompts=4, samples=4, prompt=24, completion=8)
  context = dataclasses.replace(context, work=work)
  params = ours.make_params(work.shape)
  sampler = ours.Sampler('decode: rljax', work, ours.GPU)
  rollouts = {}

  def run(limit: int) -> Callable[[], dict]:
    asked = ours.requests(work, limits=np.full(work.rows, limit))

    def go():
      rollouts[limit] = sampler(params, asked, 1)
      return {'tokens': int(rollouts[limit].action_mask.sum())}

    return go

  arms = {'rljax': run(work.completion), 'rljax, one token': run(1)}
  with context.peers(generators()) as peers:
    found = timing.interleave({**arms, **peers}, rounds=context.rounds, say=context.say)
    about = {name: peer.about for name, peer in peers.items()}
  checks = []
  rollout = rollouts[work.completion]
  tokens = int(rollout.action_mask.sum())
  check(checks, 'rljax: tokens of each run', tokens == work.new_tokens, str(tokens))
  finite = bool(jnp.isfinite(rollout.policy_logprobs).all())
  check(checks, 'rljax: finite log-probs', finite, f'{float(rollout.policy_logprobs.sum()):.0f}')
  middle = work.prompt + work.completion / 2
  asked = ours.requests(work)
  return {
    'work': work.as_json(),
    'settings': {'rljax': repr(ours.GPU)},
    'arms': found,
    'about': about,
    'checks': checks,
    'step_bytes': roofline.decode_bytes(work.shape, work.rows, middle),
    'ceilings': ceilings(context),
    'longest': traces.longest(traces.trace(lambda: sampler(params, asked, 1))),
    'program': sampler.program.record,
  }


def generators() -> dict:
  """transformers with a growing cache and with a static one, which it compiles for."""
  name, program = 'transformers generate', ('torch', 'transformers_generate')
  found = {}
  for title, cache in ((name, None), (f'{name}, static cache', 'static')):
    found[title] = (*program, {**CARD, 'cache': cache})
    found[f'{title}, one token'] = (*program, {**CARD, 'cache': cache, 'completion': 1})
  return found


def update(context: Context) -> dict:
  """Packed rows of 4096 tokens, four samples each."""
  return _update(context, 'update', Work(QWEN3_0_6B, prompts=8, prompt=256, completion=768))


def four_of_7b(context: Context) -> dict:
  """Four layers of the 7B shape, the same rows."""
  return _update(context, 'four layers of 7B', Work(FOUR_OF_7B, prompts=8, prompt=256,
                                                    completion=768))  # fmt: skip


def _update(context: Context, name: str, work: Work) -> dict:
  if context.tiny:
    work = Work(tiny(), prompts=4, samples=4, prompt=8, completion=24)
  context = dataclasses.replace(context, work=work)
  settings = dataclasses.replace(ours.GPU, row_samples=4)
  trainer = ours.Update(f'{name}: rljax', work, settings)
  batch = jax.device_put(trainer.pack(ours.random_rollout(work)))
  norms = []

  def run():
    norms.append(float(trainer(batch)['update/grad_norm']))
    return {'grad_norm': norms[-1], 'trained_tokens': ours.batch_tokens(batch)}

  with context.peers(trainers()) as peers:
    found = timing.interleave({'rljax': run, **peers}, rounds=context.rounds, say=context.say)
    about = {peer_name: peer.about for peer_name, peer in peers.items()}
  checks = []
  for arm_name, arm in found.items():
    tokens = set(timing.values(arm, 'trained_tokens'))
    said = f'{arm["runs"][-1]["trained_tokens"]}'
    check(checks, f'{arm_name}: tokens trained on', tokens == {work.trained_tokens}, said)
    finite = all(np.isfinite(timing.values(arm, 'grad_norm')))
    said = f'norm {arm["runs"][-1]["grad_norm"]:.4f}'
    check(checks, f'{arm_name}: finite gradient', finite, said)
  return {
    'work': work.as_json(),
    'settings': {'rljax': repr(settings)},
    'arms': found,
    'about': about,
    'checks': checks,
    'flops': roofline.update_flops(work.shape, [work.length] * work.rows),
    'ceilings': ceilings(context),
    'longest': traces.longest(traces.trace(lambda: trainer(batch))),
    'program': trainer.program.record,
  }


def trainers() -> dict:
  """torch with micro-batches of several sizes, with and without recomputed layers."""
  program = ('torch', 'torch_update')
  settings = [(4, False), (16, False), (16, True)]
  return {
    f'torch, micro-batch {micro}' + (', checkpointing' if again else ''): (
      *program, {**CARD, 'micro': micro, 'checkpointing': again},
    )
    for micro, again in settings
  }  # fmt: skip


def tiny() -> Shape:
  return dataclasses.replace(TINY, dtype='bfloat16')


def ceilings(context: Context) -> dict:
  """What the card reaches here and now, and what its maker says."""
  size, mib = (256, 8) if context.tiny else (8192, 4096)
  kind = jax.local_devices()[0].device_kind
  said = [peak for name, peak in DATA_SHEET.items() if name in kind]
  product = Product(1, size, size, size)
  return {
    'device': kind,
    'copy_bytes_s': roofline.copy_bandwidth(mib),
    'product_flops_s': roofline.product_ceiling(product, 'bfloat16'),
    'data_sheet_flops_s': said[0] if said else None,
  }
