"""Runs whose reward is a judge behind an endpoint that fails for a while, or for good."""

import re

import numpy as np
import pytest
from test_judges import (
  says,
  serve,  # noqa: F401
)
from tiny_runs import run, small_machine, without_times

from rljax import metrics

pytestmark = pytest.mark.thorough
LIMITED, GARBAGE, REFUSED = (429, {}, {'Retry-After': '0.01'}), (200, b'<html>', {}), (400, {}, {})


def behaving(at_first=None, always=None):
  """Says yes to answers with a b; fails at first, or always where an answer begins with an a."""
  seen = set()

  def behave(number, body):
    said = body['messages'][-1]['content']
    answer = re.search(r'\[(answer-\w+)\]\n(.*?)\n\[/\1\]', said, re.DOTALL)[2]
    is_first = answer not in seen
    seen.add(answer)
    if always and answer.startswith('a'):
      return always
    if at_first and is_first:
      return at_first
    return says(f'Verdict: {"yes" if "b" in answer else "no"}')

  return behave


def test_a_run_is_the_same_whatever_its_judge_does_for_a_while(tmp_path, serve):  # noqa: F811
  manners = {
    'well': behaving(), 'limited': behaving(at_first=LIMITED), 'refusing': behaving(always=REFUSED),
    'garbled': behaving(always=GARBAGE),
  }  # fmt: skip
  found = {}
  with small_machine(tmp_path / 'programs'):
    for name, behave in manners.items():
      client = dict(
        name='rewards.judges.Client', base_url=serve(behave).url, model='judge', concurrency=16,
        retries=2, backoff_seconds=0.01,
      )  # fmt: skip
      judge = dict(name='rewards.judges.verified', with_answer=False, generate=client)
      run(tmp_path / name, stages=('rl',), rewards=dict(reward=judge), rl=dict(iterations=2))
      rows = without_times(metrics.read_metrics(tmp_path / name))
      found[name] = [row for row in rows if 'reward/errors' in row]
  np.testing.assert_equal(found['limited'], found['well'])
  np.testing.assert_equal(found['garbled'], found['refusing'])
  errors = [[row['reward/errors'] for row in found[name]] for name in ('well', 'garbled')]
  assert errors[0] == [0, 0] and all(errors[1])
