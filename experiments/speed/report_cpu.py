"""The tables of the suite cpu: the lines of each part from what it found."""

from __future__ import annotations

from speed import tables, timing

OURS = 'rljax'  # the arm that the others are compared with


def generation(found) -> list[str]:
  arms, tokens = found['arms'], found['work']['prompts'] * found['work']['samples']
  tokens *= found['work']['completion']
  rows = []
  for name, arm in arms.items():
    median = timing.median(arm)
    ratio = None if name == OURS else f'{timing.paired_ratio(arm, arms[OURS]):.2f}'
    rows.append((name, timing.spread(timing.values(arm)), f'{tokens / median:,.0f}', ratio,
                 f'{arm["first"]:.1f}'))  # fmt: skip
  head = ('sampler', 'seconds: median (range)', 'tokens/s', '× the time of rljax', 'first run, s')
  return [*tables.table(head, rows), *rest(found)]


def rest(found) -> list[str]:
  """What was checked, and the peers' versions."""
  return tables.check_lines(found['checks']) + tables.version_line(found['about'])


def step(found) -> list[str]:
  arms, rows = found['arms'], []
  for name, arm in arms.items():
    total, generating = timing.median(arm), timing.median(arm, 'generation')
    peak = timing.median(arm, 'peak_mib')
    ratios = [None, None]
    if name != OURS:
      names = ('seconds', 'generation')
      ratios = [f'{timing.paired_ratio(arm, arms[OURS], n):.2f}' for n in names]
    rows.append((
      name, found['micro_batch'][name], timing.spread(timing.values(arm)),
      tables.number(generating), tables.number(total - generating), *ratios,
      f'{arm["first"]:.1f}', tables.number(peak, 0),
    ))  # fmt: skip
  head = (
    'program', 'micro-batch', 'step, seconds: median (range)', 'generation, s', 'rest, s',
    'step × rljax', 'generation × rljax', 'first run, s', 'peak of the process, MiB',
  )  # fmt: skip
  return [*tables.table(head, rows), *rest(found)]


def long_tail(found) -> list[str]:
  lengths = found['lengths']
  text = [
    f'{lengths["total"]:,} tokens: mean {lengths["mean"]:.0f}, median {lengths["median"]:.0f}, '
    f'longest {lengths["longest"]}; forced by {lengths["forced_by"]}.',
    '',
  ]
  arms, rows = found['arms'], []
  base = next(iter(arms.values()))
  for name, arm in arms.items():
    run = arm['runs'][-1]
    ratio = None if arm is base else f'{timing.paired_ratio(arm, base):.2f}'
    rows.append((
      name, timing.spread(timing.values(arm)), f'{run["tokens"] / timing.median(arm):,.0f}', ratio,
      tables.share(run, 'useful', 'all'), tables.share(run, 'busy', 'empty'),
      tables.number(found['cache_mib'][name], 0),
    ))  # fmt: skip
  head = (
    'sampler', 'seconds: median (range)', 'tokens/s', '× the time of rljax',
    'useful / computed slot-steps', 'busy until the queue is empty', 'cache, MiB',
  )  # fmt: skip
  text += tables.table(head, rows) + ['']
  curve = found['curve']
  head = ('window', *(name.split()[-1] for name in curve))
  rates = [f'{a["runs"][-1]["tokens"] / timing.median(a):,.0f}' for a in curve.values()]
  shares = [tables.share(a['runs'][-1], 'useful', 'all') for a in curve.values()]
  busy = [tables.share(a['runs'][-1], 'busy', 'empty') for a in curve.values()]
  rows = [('tokens/s', *rates), ('useful / computed', *shares), ('busy until empty', *busy)]
  text += tables.table(head, rows)
  return text + tables.check_lines(found['checks'])


def scaling(found) -> list[str]:
  rows = []
  for axis, points in found['axes'].items():
    for p in points:
      rows.append((
        axis, p['value'],
        *(tables.number(p[name]) for name in ('generation', 'update', 'seconds')),
        f'{p["tokens"] / p["generation"]:,.0f}', f'{p["trained_tokens"] / p["update"]:,.0f}',
      ))  # fmt: skip
  head = (
    'axis', 'value', 'generation, s', 'update, s', 'step, s', 'tokens sampled/s',
    'tokens trained/s',
  )  # fmt: skip
  return tables.table(head, rows)


def roofline(found) -> list[str]:
  text = [f'Copy bandwidth {found["copy_gb_s"]:.1f} GB/s (read and written).', '']
  rows = []
  for name, program in found['programs'].items():
    for p in program['products']:
      percent = 100 * p['gf_s'] / p['ceiling_gf_s']
      rows.append((
        name, p['product'], p['calls'], f'{1000 * p["seconds"]:.0f}',
        f'{100 * p["share_flops"]:.0f} %', f'{p["gf_s"]:.0f}', f'{p["ceiling_gf_s"]:.0f}',
        f'{percent:.0f} %',
      ))  # fmt: skip
  head = ('program', 'product', 'calls', 'ms', 'of the operations', 'GF/s', 'ceiling', 'share')
  text += tables.table(head, rows) + ['']
  rows = []
  for name, p in found['programs'].items():
    rate = p['model_gflop'] / p['seconds']
    rows.append((
      name,
      *(tables.number(p[x]) for x in ('seconds', 'products_seconds', 'seconds_at_ceiling')),
      f'{p["model_gflop"]:.0f}', f'{p["products_gflop"]:.0f}', f'{rate:.0f}',
    ))  # fmt: skip
  head = (
    'program', 'seconds', 'in products (traced)', 'products at their ceilings',
    'GFLOP needed', 'GFLOP computed in products', 'needed / second, GF/s',
  )  # fmt: skip
  text += tables.table(head, rows)
  return text + decode_line(found) + longest_lines(found['programs'])


def decode_line(found) -> list[str]:
  decode = found['decode']
  rate = decode['step_bytes'] / decode['step_seconds'] / 1e9
  return [
    '',
    f'A decode step reads {decode["step_bytes"] / 2**20:.0f} MiB of weights and live cache and '
    f'needs {decode["step_flops"] / 1e9:.2f} GFLOP; it takes '
    f'{1000 * decode["step_seconds"]:.1f} ms (prefill and assembly included), '
    f'which is {rate:.1f} GB/s, {100 * rate / found["copy_gb_s"]:.0f} % of the copy.',
  ]


def longest_lines(programs) -> list[str]:
  """What took longest besides the products, traced."""
  lines = ['']
  for name, program in programs.items():
    own = ', '.join(f'{x["name"]} {1000 * x["seconds"]:.0f} ms' for x in program['longest'])
    lines.append(f'Longest besides the products in the {name}, traced: {own}.  ')
  return lines


def footprint(found) -> list[str]:
  rows = [
    (name, tables.number(r['trace_seconds'], 1), tables.number(r['compile_seconds'], 1),
     tables.number(r.get('arguments_mib'), 0), tables.number(r.get('temporaries_mib'), 0),
     tables.number(r.get('peak_mib'), 0))
    for name, r in found['programs'].items()
  ]  # fmt: skip
  head = ('program', 'tracing, s', 'compiling, s', 'arguments, MiB', 'temporaries, MiB',
          'peak, MiB')  # fmt: skip
  large = found['programs']['generation, cache of 1 GiB']['temporaries_mib']
  chunks = ', '.join(f'{size}: {mib:.0f}' for size, mib in found['chunk_mib'].items())
  return [
    *tables.table(head, rows), '',
    f'The sampler makes its cache itself: with one of {found["cache_mib"]:.0f} MiB it has '
    f'{large:.0f} MiB of temporaries. Logits of one chunk, MiB by vocabulary: '
    f'{chunks}.',
  ]  # fmt: skip


TITLES = {
  'generation': 'Generation',
  'step': 'A whole GRPO step',
  'long_tail': 'Long tail',
  'scaling': 'Scaling',
  'roofline': 'Products against their ceilings',
  'footprint': 'Compile time and memory',
}
PARTS = {
  'generation': generation,
  'step': step,
  'long_tail': long_tail,
  'scaling': scaling,
  'roofline': roofline,
  'footprint': footprint,
}
