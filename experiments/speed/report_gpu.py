"""The tables of the suite gpu."""

from __future__ import annotations

from speed import tables, timing

FIRST = ', one token'


def decode(found) -> list[str]:
  arms, work, peak = found['arms'], found['work'], found['ceilings']['copy_bytes_s']
  rows = []
  for name, arm in arms.items():
    if name.endswith(FIRST) or name + FIRST not in arms:
      continue
    total, first = timing.median(arm), timing.median(arms[name + FIRST])
    step = (total - first) / (work['completion'] - 1)
    tokens = work['prompts'] * work['samples'] / step
    share = 100 * found['step_bytes'] / step / peak
    rows.append((
      name, timing.spread(timing.values(arm)), tables.number(first), f'{1000 * step:.2f}',
      f'{tokens:,.0f}', f'{share:.0f} %', f'{arm["first"]:.1f}',
    ))  # fmt: skip
  head = (
    'sampler', 'seconds: median (range)', 'first token, s', 'decode step, ms', 'tokens/s',
    'of the copy bandwidth', 'first run, s',
  )  # fmt: skip
  step = found['step_bytes'] / 2**30
  line = (
    f'{work["prompts"] * work["samples"]} rows, live context {work["prompt"]} … '
    f'{work["prompt"] + work["completion"]} tokens: {step:.1f} GiB of weights and live cache a '
    f'step; copy bandwidth {peak / 1e12:.2f} TB/s.'
  )
  return [line, '', *tables.table(head, rows), *_rest(found)]


def update(found) -> list[str]:
  arms, work, ceilings = found['arms'], found['work'], found['ceilings']
  tokens = work['prompts'] * work['samples'] * (work['prompt'] + work['completion'])
  rows = []
  for name, arm in arms.items():
    seconds = timing.median(arm)
    rate = found['flops'] / seconds
    of_sheet = ceilings['data_sheet_flops_s']
    rows.append((
      name, timing.spread(timing.values(arm)), f'{tokens / seconds:,.0f}', f'{rate / 1e12:.0f}',
      f'{100 * rate / ceilings["product_flops_s"]:.0f} %',
      f'{100 * rate / of_sheet:.0f} %' if of_sheet else None, f'{arm["first"]:.1f}',
    ))  # fmt: skip
  head = (
    'program', 'seconds: median (range)', 'tokens/s', 'model TFLOP/s', 'of a product of 8192³',
    'of the data sheet (MFU)', 'first run, s',
  )  # fmt: skip
  line = (
    f'{tokens:,} tokens; a product of 8192³ reaches '
    f'{ceilings["product_flops_s"] / 1e12:.0f} TFLOP/s here.'
  )
  return [line, '', *tables.table(head, rows), *_rest(found)]


def _rest(found) -> list[str]:
  own = ', '.join(f'{x["name"]} {1000 * x["seconds"]:.0f} ms' for x in found['longest'])
  record = found['program']
  return [
    *tables.check_lines(found['checks']),
    *tables.version_line(found['about']),
    '',
    f'Longest, traced: {own}. Compiled in {record["compile_seconds"]:.0f} s; peak '
    f'{record.get("peak_mib", 0) / 1024:.1f} GiB.',
  ]


TITLES = {
  'decode': 'Decode, Qwen3-0.6B',
  'update': 'Update, Qwen3-0.6B',
  'four_of_7b': 'Update, four layers of 7B',
}
PARTS = {'decode': decode, 'update': update, 'four_of_7b': update}
