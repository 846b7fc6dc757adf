"""Prompts, completions and rewards of a run, one after the other."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from rljax.report.cells import new_console, number, visible
from rljax.report.runs import RunRecord


def show_samples(
  run: RunRecord, *, iteration: int | None = None, prompt: str = '', below: float | None = None,
  above: float | None = None, count: int | None = 20, page: int = 1, console: Any = None,
) -> int:  # fmt: skip
  """Prints prompts, completions and rewards, by prompt; the best completion of each first.

  Beside the reward stand its parts and the answer that was expected, where the run has kept it.

  Args:
    iteration: None = the last one that has such samples.
    prompt: text that the prompt holds; '' = any.
    below, above: bounds of the reward, themselves not meant; None = there is none. A sample without
      a reward is within no bound.
    count: completions on a page; None = all.
    page: from 1 on.

  Returns:
    how many there are that were asked for, on all pages.

  Raises:
    ValueError: there are fewer pages, or a page has no place.

  Examples:
    >>> with workdir.open_workdir('run', 'mine', {'rl': {}, 'stages': ['rl']}, seed=0):
    ...   files.write_text('run/metrics.jsonl', '')
    >>> run = report.read_run('run')
    >>> print(report.show_samples(run))
    0
  """
  console = console or new_console()
  there = [s for s in run.samples if prompt in str(s.get('prompt')) and _is_in(s, above, below)]
  if iteration is None and there:
    iteration = there[-1]['iteration']
    there = [s for s in there if s['stage'] == there[-1]['stage']]
  chosen = [s for s in there if s['iteration'] == iteration]
  chosen.sort(key=lambda s: (s.get('draw_id', 0), -s['reward'] if _is_scored(s) else math.inf))
  if count is not None and count < 1:
    raise ValueError(f'count={count}: a page holds one completion or more')
  size = count or max(len(chosen), 1)
  pages, last = math.ceil(len(chosen) / size), None
  if not 1 <= page <= max(pages, 1):
    raise ValueError(f'there is no page {page}; they are counted from 1 to {pages}')
  for sample in chosen[(page - 1) * size : page * size]:
    place = (sample['stage'], sample['iteration'], sample.get('draw_id'))
    _print(sample, console, is_new=place != last)
    last = place
  if pages > 1:
    following = f'--page={page + 1} shows the next' if page < pages else 'this is the last one'
    console.print(f'\npage {page} of {pages}, {len(chosen)} samples; {following}', markup=False)
  return len(chosen)


def _print(sample: Mapping[str, Any], console: Any, *, is_new: bool) -> None:
  from rich.text import Text

  if is_new:
    head = visible(f'\n{sample["stage"]} {sample["iteration"]}  {sample.get("prompt")}')
    console.print(Text(head, style='bold'))
  parts = ' '.join(f'{k}={number(v)}' for k, v in (sample.get('components') or {}).items())
  cut = ' (cut off)' if sample.get('truncated') else ''
  told = Text(visible(f'  {number(sample.get("reward")):>8}  {parts}{cut}'), style='cyan')
  if sample.get('answer') is not None:
    told.append(visible(f'  expected: {sample["answer"]}'), style='green')
  console.print(told)
  console.print(Text(visible(f'    {sample.get("completion")}')))


def _is_in(sample: Mapping[str, Any], above: float | None, below: float | None) -> bool:
  if above is None and below is None:
    return True
  reward = sample['reward'] if _is_scored(sample) else math.nan
  return (above is None or reward > above) and (below is None or reward < below)


def _is_scored(sample: Mapping[str, Any]) -> bool:
  reward = sample.get('reward')
  return reward is not None and not math.isnan(reward)


@contextlib.contextmanager
def paged() -> Iterator[Any]:
  """A console for long texts: on a terminal what it prints goes through $PAGER, by default less.

  Examples:
    >>> with report.paged() as console:  # into a file or a pipe: as it is
    ...   console.print('rl 12', markup=False)
    rl 12
  """
  console = new_console()
  if not console.is_terminal:
    yield console
    return
  pager = os.environ.get('PAGER', 'less')
  # Of less: colours, and an end at once where all is on one screen.
  os.environ.setdefault('LESS', '-FRX')
  with console.pager(styles='less' in pager):
    yield console
