"""Tokens per second with and without guesses, on texts that repeat themselves and on random ones.

  python experiments/speculation/run.py --out=runs/speculation --publish

The arms of a row take turns, round by round, so that what slows the machine for a while slows all
of them. results.json and table.md are written to <out>; --publish also puts results.json beside
this file and the table into its README.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from rljax import models
from rljax.sampling import make_requests, sample_and_count
from rljax.structs import SamplerSettings

HERE = pathlib.Path(__file__).resolve().parent
MARKERS = ('<!-- results: written by run.py -->', '<!-- end of results -->')
VOCAB, PROMPT, NEW, CYCLE = 4096, 64, 128, 16  # tokens
POLICY = dict(num_layers=4, d_model=256, num_heads=4, num_kv_heads=2, head_dim=64, d_ff=1024)
DRAFT = POLICY | dict(num_layers=1, d_ff=256)
TEXTS = ('random', 'repetitive')
CERTAINTY = 0.95  # of the next token of a repetitive text


def main():
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('runs/speculation'))
  parser.add_argument('--batches', default='1,8,64')
  parser.add_argument('--num-draft', type=int, default=4)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--publish', action='store_true', help='results into this folder, too')
  args = parser.parse_args()
  rows = []
  for text in TEXTS:
    for batch in map(int, args.batches.split(',')):
      rows += measure(text, batch, args.num_draft, args.rounds)
  args.out.mkdir(parents=True, exist_ok=True)
  (args.out / 'results.json').write_text(json.dumps(rows, indent=1) + '\n')
  table = markdown(rows)
  (args.out / 'table.md').write_text(table)
  if args.publish:
    publish(args.out, table)
  print(table)


# ---------------------------------------------------------------------------------- the policies


def build(text, fields):
  """(policy, parameters): random weights, or a policy that walks in circles of `CYCLE` tokens.

  The layers of the latter are computed and add nothing; the head knows what follows a token.
  """
  policy = models.decoder(vocab_size=VOCAB, tie_embeddings=text == 'random', **fields)
  params = jax.jit(policy.init)(jax.random.key(fields['num_layers']))
  if text == 'random':
    return policy, params
  layers = params['layers'] | {k: 0 * params['layers'][k] for k in ('wo', 'w_down')}
  width = fields['d_model']
  places = np.random.default_rng(0).choice([-1.0, 1.0], (VOCAB, width)).astype(np.float32)
  before = np.argsort(following(np.arange(VOCAB)))
  sharpness = np.log(CERTAINTY / (1 - CERTAINTY) * VOCAB) / width
  head = jnp.asarray(sharpness * places[before])
  return policy, params | {'layers': layers, 'embedding': jnp.asarray(places), 'head': head}


def following(tokens):
  return tokens // CYCLE * CYCLE + (tokens + 1) % CYCLE


def prompts(text, batch):
  random = np.random.default_rng(1)
  if text == 'random':
    return random.integers(0, VOCAB, (batch, PROMPT)).tolist()
  walk = [random.integers(0, VOCAB, batch)]
  while len(walk) < PROMPT:
    walk.append(following(walk[-1]))
  return np.stack(walk, axis=1).tolist()


# ---------------------------------------------------------------------------------- the runs


def measure(text, batch, num_draft, rounds):
  """One row of results for each arm."""
  policy, params = build(text, POLICY)
  draft, draft_params = build(text, DRAFT)
  policy = models.with_draft(policy, draft)
  params = {'policy': params, 'draft': draft_params}
  requests = make_requests(
    prompts(text, batch), samples_per_prompt=1, draw_ids=range(batch), max_prompt=PROMPT,
    max_new_tokens=NEW, temperature=1.0, stop_ids=[],
  )  # fmt: skip
  base = SamplerSettings(length=PROMPT + NEW, max_new_tokens=NEW, drains=0, num_draft=num_draft)
  settings = {how or 'plain': base.replace(speculate=how) for how in ('', 'lookup', 'draft')}
  program = jax.jit(
    lambda params, requests, seed, settings: sample_and_count(
      policy, params, requests, seed=seed, settings=settings
    )
  )
  seconds, busy, found = {how: [] for how in settings}, {how: [] for how in settings}, {}
  load = [os.getloadavg()[0]]
  for turn in range(rounds + 1):  # the first compiles
    for how, some in settings.items():
      started, worked = time.perf_counter(), time.process_time()
      found[how] = jax.block_until_ready(program(params, requests, np.uint32(turn), some))
      seconds[how] += [time.perf_counter() - started] if turn else []
      busy[how] += [time.process_time() - worked] if turn else []
    load.append(os.getloadavg()[0])
  rows = []
  for how, (rollout, counts) in jax.device_get(found).items():
    tokens = int(rollout.action_mask.sum())
    plain = found['plain'][0].tokens
    rows.append(
      dict(
        text=text, batch=batch, arm=how, num_draft=num_draft if how != 'plain' else 0,
        seconds=seconds[how], cpu_seconds=busy[how], tokens=tokens, steps=int(counts.steps[0]),
        drafted=int(counts.drafted[0]), accepted=int(counts.accepted[0]),
        same=float(np.mean(np.all(rollout.tokens == np.asarray(plain), axis=1))),
        load=[min(load), max(load)], device=jax.devices()[0].device_kind,
      )
    )  # fmt: skip
    print(json.dumps(rows[-1]), flush=True)
  return rows


# ---------------------------------------------------------------------------------- the report


def markdown(rows):
  lines = [
    '| text | batch | arm | tokens/s, median (least … most) | × plain | × plain by CPU time | '
    'guesses that were right | tokens a step and sample | samples as without guesses |',
    '|---|---|---|---|---|---|---|---|---|',
  ]
  for row in rows:
    plain = next(
      r for r in rows if (r['text'], r['batch'], r['arm']) == (row['text'], row['batch'], 'plain')
    )
    speed = sorted(row['tokens'] / s for s in row['seconds'])
    ratios, by_cpu = (
      statistics.median(a / b for a, b in zip(plain[name], row[name]))
      for name in ('seconds', 'cpu_seconds')
    )
    right = f'{row["accepted"] / row["drafted"]:.0%}' if row['drafted'] else ''
    lines.append(
      f'| {row["text"]} | {row["batch"]} | {row["arm"]} | {statistics.median(speed):,.0f} '
      f'({speed[0]:,.0f} … {speed[-1]:,.0f}) | {ratios:.2f} | {by_cpu:.2f} | {right} | '
      f'{row["tokens"] / row["steps"] / row["batch"]:.2f} | {row["same"]:.0%} |'
    )
  loads = [x for row in rows for x in row['load']]
  lines.append(
    f'\n{rows[0]["device"]}, {os.cpu_count()} cores; load of the machine {min(loads):.1f} to '
    f'{max(loads):.1f} while it was measured (a quiet machine has about as much as cores).'
  )
  return '\n'.join(lines) + '\n'


def publish(out, table):
  shutil.copyfile(out / 'results.json', HERE / 'results.json')
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(MARKERS[0])
  after = rest.split(MARKERS[1])[1]
  readme.write_text(f'{before}{MARKERS[0]}\n{table}{MARKERS[1]}{after}')


if __name__ == '__main__':
  main()
