"""Part roofline: bytes and operations of a step, and what this machine reaches at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from speed import hlo, ours, timing, traces
from speed.context import Context
from speed.hlo import Product
from speed.programs import Program
from speed.shapes import Shape, Work

MIN_SHARE = 0.01  # products with less of their program's operations and time are left out


# -------------------------------------------------------------------------------- what is counted


def decode_flops(shape: Shape, rows: int, context: float) -> float:
  """Of one step of `rows` rows that each see `context` tokens: products and attention."""
  attention = 4 * shape.num_layers * shape.num_heads * shape.head_dim * context
  return rows * (2 * shape.products + attention)


def decode_bytes(shape: Shape, rows: int, context: float) -> float:
  """That a step must read: each weight once, the live keys and values of each row."""
  return shape.products * shape.itemsize + rows * context * shape.cache_bytes


def prefill_flops(shape: Shape, lengths: Sequence[int]) -> float:
  """Of prompts that are read once, without the head."""
  body = shape.num_layers * shape.layer_products
  width = shape.num_layers * shape.num_heads * shape.head_dim
  return sum(2 * body * n + 2 * width * n**2 for n in lengths)


def update_flops(shape: Shape, lengths: Sequence[int]) -> float:
  """6 · (parameters in products) · tokens + attention within samples; nothing recomputed.

  Causal attention: half of 4·H·d·n² forward, twice that backward.
  """
  width = shape.num_layers * shape.num_heads * shape.head_dim
  return sum(6 * shape.products * n + 6 * width * n**2 for n in map(float, lengths))


def generation_flops(work: Work) -> float:
  """Of all steps of a work whose completions all have the same length, each prompt read once."""
  steps = range(work.prompt, work.length)
  decode = sum(decode_flops(work.shape, work.rows, n) for n in steps)
  return decode + prefill_flops(work.shape, [work.prompt] * work.prompts)


# ------------------------------------------------------------------------------------- ceilings


def best_of(run: Callable, *arguments, seconds: float = 0.25, most: int = 50) -> float:
  """The shortest of several runs, in seconds."""
  jax.block_until_ready(run(*arguments))
  found, ends = [], time.perf_counter() + seconds
  while not found or (time.perf_counter() < ends and len(found) < most):
    started = time.perf_counter()
    jax.block_until_ready(run(*arguments))
    found.append(time.perf_counter() - started)
  return min(found)


def copy_bandwidth(mib: int = 256) -> float:
  """Bytes a second that are read and written by a copy of an array beyond the caches."""
  array = jnp.zeros(mib * 2**20 // 4, jnp.float32)
  return 2 * array.nbytes / best_of(jax.jit(lambda x: x + 1), array, seconds=1.0)


def product_ceiling(product: Product, dtype: str = 'float32') -> float:
  """Operations a second of this product alone, in a loop on the device."""
  b, m, k, n = product
  repeats = max(1, int(2e9 / product.flops))
  keys = jax.random.split(jax.random.key(0))
  left = jax.random.normal(keys[0], (b, m, k), dtype)
  right = jax.random.normal(keys[1], (b, k, n), dtype)

  @jax.jit
  def loop(left, right):
    small = left.size <= right.size  # the smaller operand changes from turn to turn

    def body(_, carry):
      shift = (carry[0, 0, 0] * 1e-30).astype(dtype)
      pair = (left + shift, right) if small else (left, right + shift)
      return jnp.einsum('bmk,bkn->bmn', *pair, precision=lax.Precision.HIGHEST)

    return lax.fori_loop(0, repeats, body, jnp.zeros((b, m, n), dtype))

  return repeats * product.flops / best_of(loop, left, right)


# ---------------------------------------------------------------------------------- measurements


def measure(context: Context) -> dict:
  """Generation and update of the comparison: each product against its own ceiling."""
  work, settings = context.work, next(iter(ours.STEP.values()))
  step = ours.Step('roofline', work, settings)
  bandwidth = copy_bandwidth()
  context.say(f'  copy: {bandwidth / 1e9:.1f} GB/s', flush=True)
  seconds = timing.interleave({'rljax': step}, rounds=context.rounds, say=context.say)['rljax']
  params = ours.make_params(work.shape)
  asked = ours.requests(work)
  batch = step.update.pack(step.rollout)
  programs = {
    'generation': (step.sampler.program, lambda: step.sampler(params, asked, 0)),
    'update': (step.update.program, lambda: step.update(batch)),
  }
  ceilings: dict[Product, float] = {}
  found = {'settings': {'rljax': repr(settings)}, 'copy_gb_s': bandwidth / 1e9, 'programs': {}}
  for name, (program, run) in programs.items():
    context.say(f'  products of the {name}', flush=True)
    entry = profile(program, run, ceilings)
    entry['seconds'] = timing.median(seconds, name)
    found['programs'][name] = entry
  counted = {
    'generation': generation_flops(work),
    'update': update_flops(work.shape, [work.length] * work.rows),
  }
  for name, flops in counted.items():
    found['programs'][name]['model_gflop'] = flops / 1e9
  middle = work.prompt + work.completion / 2
  found['decode'] = {
    'step_bytes': decode_bytes(work.shape, work.rows, middle),
    'step_flops': decode_flops(work.shape, work.rows, middle),
    'step_seconds': timing.median(seconds, 'generation') / work.completion,
  }
  return found


def profile(program: Program, run: Callable, ceilings: dict[Product, float]) -> dict:
  """The products of a program in one traced run, with their ceilings, and what else took long."""
  run()
  seen = traces.trace(run)
  text = program.compiled.as_text()
  made = traces.by_product(text, seen)
  flops = sum(p.flops * x['calls'] for p, x in made.items())
  spent = sum(x['seconds'] for x in made.values())
  rows = []
  for product, x in sorted(made.items(), key=lambda item: -item[1]['seconds']):
    share = product.flops * x['calls'] / flops
    if max(share, x['seconds'] / spent) < MIN_SHARE:
      continue
    if product not in ceilings:
      ceilings[product] = product_ceiling(product)
    rate = product.flops * x['calls'] / x['seconds']
    rows.append({
      'product': str(product), 'calls': x['calls'], 'seconds': x['seconds'], 'share_flops': share,
      'gf_s': rate / 1e9, 'ceiling_gf_s': ceilings[product] / 1e9,
    })  # fmt: skip
  at_ceiling = sum(r['seconds'] * r['gf_s'] / r['ceiling_gf_s'] for r in rows)
  return {
    'products': rows,
    'products_gflop': flops / 1e9,
    'products_seconds': spent,
    'seconds_at_ceiling': at_ceiling,
    'longest': traces.longest(seen, without=hlo.products(text)),
  }
