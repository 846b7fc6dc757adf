"""Plans every row of the table of this experiment: one process for each, one after the other.

  python experiments/scale/run.py              # all rows, and the table of README.md
  python experiments/scale/run.py --rows=qwen2_5_7b-v5e-16,qwen2_5_32b-v5p-64
  python experiments/scale/run.py --table      # only the table, from what stands in plans/
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
MARK = '<!-- results: written by run.py -->'

# slice -> (topology in chips, its chips); v5p counts cores, and a chip has two.
SLICES = {
  'v5e-8': ('v5e:2x4', 8),
  'v5e-16': ('v5e:4x4', 16),
  'v5e-256': ('v5e:16x16', 256),
  'v5p-64': ('v5p:2x4x4', 32),
  'v5p-512': ('v5p:4x8x8', 256),
  'v6e-16': ('v6e:4x4', 16),
  'v6e-256': ('v6e:16x16', 256),
}
WIDE = ('mesh.fsdp=32', 'mesh.tensor=8', 'rl.rows=32', 'rl.prompts=64', 'rl.sampler.slots=512')
# (config, slice, what differs from the config)
ROWS = [
  ('qwen2_5_0_5b', 'v5e-8', ()),
  ('qwen2_5_1_5b', 'v5e-16', ()),
  ('qwen2_5_7b', 'v5e-16', ()),
  ('qwen2_5_7b', 'v6e-16', ()),
  ('qwen2_5_32b', 'v5p-64', ()),
  ('qwen2_5_32b', 'v5e-256', WIDE),
  ('llama3_1_70b', 'v5p-512', ()),
  ('llama3_1_70b', 'v6e-256', ()),
  ('qwen3_30b_a3b', 'v5p-64', ()),
]
ON_A_GPU = [('qwen2_5_7b', '8 × H100'), ('qwen2_5_7b', '8 × H200'), ('qwen2_5_32b', '8 × H200')]


def key(row: tuple) -> str:
  return f'{row[0]}-{row[1]}'


def command(row: tuple) -> list[str]:
  """`rljax plan` of a row, its report in plans/."""
  name, where, changes = row
  return [
    'plan', f'--config=scale/{name}', f'--topology={SLICES[where][0]}',
    *(f'--config.{change}' for change in changes), f'--out=experiments/scale/plans/{key(row)}.md',
  ]  # fmt: skip


def plan_all(rows: list[tuple]) -> None:
  """Plans rows, each in a process of its own: a compiler keeps what it has used."""
  environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1'}
  for row in rows:
    print('rljax', *command(row), flush=True)
    done = subprocess.run(
      [sys.executable, '-m', 'rljax', *command(row)], cwd=HERE.parent.parent, env=environment,
      capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
      print(done.stderr[-2000:], file=sys.stderr)
      continue
    file = HERE / 'plans' / f'{key(row)}.json'
    now = datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%d %H:%M')
    found = {**json.loads(file.read_text()), 'planned': now}
    file.write_text(json.dumps(found, indent=2, ensure_ascii=False) + '\n')


def line(row: tuple, found: dict[str, Any] | None) -> list[str]:
  """A row of the table."""
  name, where, _ = row
  start = [f'`scale/{name}`', f'{where} ({SLICES[where][1]} chips, `{SLICES[where][0]}`)']
  if found is None:
    return [*start, 'not planned yet', *[''] * 8]
  ratio = found['hlo_over_model_flops']
  return [
    *start,
    found['mesh'],
    *(f'{found["gib"][phase]:.2f}' for phase in ('rollout', 'update')),
    f'{found["capacity_gib"]:g}: {"fits" if found["fits"] else "does NOT fit"}',
    ' / '.join(str(n) for n in found['slots']),
    *(
      'does not compile' if found['seconds'][name] is None
      else f'{found["seconds"][name]:.3g} s, {found["bound"][name]}'
      for name in ('sampler', 'update')
    ),
    f'{ratio.get("update", float("nan")):.2f}',
    found['planned'],
  ]


def table() -> str:
  """The table of the README, from plans/."""
  names = [
    'config', 'slice', 'mesh', 'rollout, GiB', 'update, GiB', 'of GiB', 'slots a group: used / fit',
    'rollout takes at least', 'update takes at least', 'HLO / model FLOPs of the update',
    'planned (UTC)',
  ]  # fmt: skip
  rows = []
  for row in ROWS:
    file = HERE / 'plans' / f'{key(row)}.json'
    rows.append(line(row, json.loads(file.read_text()) if file.exists() else None))
  rows += [[f'`scale/{n}`', where, 'compiled only on a GPU: not measured', *[''] * 8]
           for n, where in ON_A_GPU]  # fmt: skip
  return '\n'.join('| ' + ' | '.join(r) + ' |' for r in [names, ['---'] * len(names), *rows])


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--rows', default='', help='keys of rows, with commas; default: all')
  parser.add_argument('--table', action='store_true', help='only write the table')
  args = parser.parse_args()
  wanted = [k for k in args.rows.split(',') if k]
  if unknown := set(wanted) - {key(row) for row in ROWS}:
    parser.error(f'no row {", ".join(sorted(unknown))}; there are {", ".join(map(key, ROWS))}')
  if not args.table:
    plan_all([row for row in ROWS if not wanted or key(row) in wanted])
  readme = HERE / 'README.md'
  above = readme.read_text().split(MARK)[0]
  readme.write_text(f'{above}{MARK}\n{table()}\n')


if __name__ == '__main__':
  main()
