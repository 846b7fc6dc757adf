"""What a run looks like in the terminal, live and afterwards; its samples."""

import io
import os
import re
import shutil
import subprocess

import pytest
import rich.console
from written_runs import written_run

from rljax import cli, files, metrics, report, workdir


@pytest.fixture
def run(tmp_path):
  return written_run(tmp_path / 'runs' / 'one')


def printed(function, *args, **given):
  console = rich.console.Console(record=True, width=110, force_terminal=False, quiet=False)
  result = function(*args, console=console, **given)
  return console.export_text(), result


def test_a_run_tells_its_state_and_what_differs_from_the_default(run):
  found = report.read_run(run)
  assert (found.title, found.name, found.seed) == ('runs/one', 'quickstart', 3)
  assert found.state == 'stopped'
  assert found.stages == ['sft', 'rl'] and len(found.series('rl')['reward/mean']) == 700
  assert found.changes()['task.name'] == ('tasks.countdown', 'tasks.sorting')
  start, end = found.evaluations()
  assert (start['pass@1'], end['pass@1']) == (0.25, 0.75)


def test_a_run_that_a_process_holds_is_running(run):
  resolved = files.read_json(run / 'config.json')['config']
  with workdir.open_workdir(run, 'quickstart', resolved, 3):
    assert report.read_run(run).state == 'running'
  assert report.read_run(run).state == 'stopped'


def test_where_no_run_is_the_error_says_so(tmp_path):
  with pytest.raises(workdir.WorkdirError, match=r'no run of rljax is there'):
    report.read_run(tmp_path)


def test_show_prints_a_line_for_each_curve(run):
  text, _ = printed(report.show, report.read_run(run))
  line = next(line for line in text.splitlines() if line.startswith('reward/mean'))
  assert '▁' in line and line.split()[-2].endswith('█') and 'reward/right' in text
  assert 'quickstart, seed 3: stopped, rl 700' in text and 'sft/loss' in text
  assert 'method/clipped_surrogate/ratio' in text and 'method/other' not in text


def test_compare_has_a_column_for_each_run(run):
  found = report.read_run(run)
  text, _ = printed(report.compare, [found, found])
  assert text.count('0.25 → 0.75') == 2 and text.count('runs/one') == 2
  assert 'the configs are the same but for the seed' in text


def test_compare_names_what_differs_between_the_configs(run):
  other = run.parent / 'two'
  shutil.copytree(run, other)
  record = files.read_json(other / 'config.json')
  record['config']['rl']['loss']['clip_high'] = 0.28
  record['config']['rl']['extra'] = '[red]\x1b[m'
  record['config']['seed'] = 4
  files.write_json(other / 'config.json', {**record, 'seed': 4})
  found = [report.read_run(path) for path in (run, other, run)]
  text, _ = printed(report.compare, found)
  cells = {row[0]: row[1:] for row in ([c.strip() for c in line.split('│')[1:-1]]
           for line in text.splitlines()) if len(row) == 4}  # fmt: skip
  assert cells['rl.loss.clip_high'] == ['0.2', '0.28', '0.2']
  assert cells['rl.extra'] == ['(absent)', '[red]␛[m', '(absent)']
  assert 'seed' not in cells and 'are the same' not in text


def test_a_live_run_is_drawn_as_it_goes_on(run, monkeypatch):
  resolved = files.read_json(run / 'config.json')['config']
  held = workdir.open_workdir(run, 'quickstart', resolved, 3)
  waits = []

  def wait(seconds):
    waits.append(seconds)
    if len(waits) == 2:
      # A reader may come while a line is written: within a character, too.
      row = '{"stage": "rl", "iteration": 701, "reward/mean": 1.0}\n{"stage": "é'
      with open(run / 'metrics.jsonl', 'ab') as file:
        file.write(row.encode()[:-1])
    if len(waits) == 4:
      held.__exit__(None, None, None)

  monkeypatch.setattr('time.sleep', wait)
  with held:
    text, _ = printed(report.follow, run, seconds=0.25)
  lines = [line for line in text.splitlines() if 'quickstart, seed 3' in line]
  assert [line.split(': ')[1] for line in lines] == [
    f'{state} of 700' for state in ('running, rl 700', 'running, rl 701', 'stopped, rl 701')
  ]  # fmt: skip
  assert waits == [0.25] * 4 and text.count('reward/mean') == 1  # the whole, at the end


def test_who_looks_may_leave(run, monkeypatch):
  def leave(seconds):
    raise KeyboardInterrupt

  monkeypatch.setattr('time.sleep', leave)
  resolved = files.read_json(run / 'config.json')['config']
  with workdir.open_workdir(run, 'quickstart', resolved, 3):
    console = rich.console.Console(record=True, width=110, force_terminal=True, file=io.StringIO())
    report.follow(run, console=console)
  assert 'running, rl 700' in console.export_text() and 'reward/mean' in console.file.getvalue()


def test_samples_are_of_one_iteration_and_the_others_are_counted(run):
  text, count = printed(report.show_samples, report.read_run(run), count=1)
  assert count == 2 and 'rl 700  p700' in text and 'page 1 of 2, 2 samples; --page=2' in text
  assert text.index('right=1') and 'right=0' not in text  # the best comes first
  text, count = printed(report.show_samples, report.read_run(run), iteration=3, prompt='p3')
  assert count == 2 and 'rl 3  p3' in text
  assert printed(report.show_samples, report.read_run(run), iteration=4000)[1] == 0
  text, count = printed(report.show_samples, report.read_run(run), count=1, page=2)
  assert count == 2 and 'right=0' in text and 'right=1' not in text and 'the last one' in text
  with pytest.raises(ValueError, match='there is no page 3; they are counted from 1 to 2'):
    printed(report.show_samples, report.read_run(run), count=1, page=3)


def test_the_expected_answer_stands_beside_the_reward(run):
  text, _ = printed(report.show_samples, report.read_run(run), iteration=5)
  line = next(line for line in text.splitlines() if 'right=1' in line)
  assert line.split() == ['1', 'right=1', '(cut', 'off)', 'expected:', 'a5']
  text, _ = printed(report.show_samples, report.read_run(run))
  assert 'expected: a700␛[2J' in text and '\x1b' not in text


def test_samples_are_chosen_by_their_reward(run):
  with metrics.make_writers(('jsonl',), run, stages={'rl': 701}, after=('rl', 700)) as writer:
    writer.samples(701, [{'prompt': 'q', 'completion': 'c', 'reward': float('nan')}], stage='rl')
  found = report.read_run(run)
  for bounds, place in (({'below': 0.5}, 'rl 700'), ({'above': 0.5}, 'rl 700'), ({}, 'rl 701')):
    text, count = printed(report.show_samples, found, **bounds)
    assert count == 1 and place in text  # the last iteration that has such samples
  assert printed(report.show_samples, found, below=1.0, above=0.0)[1] == 0


def test_on_a_terminal_samples_go_through_a_pager(run, monkeypatch, tmp_path, capsys):
  pager, got = tmp_path / 'less', tmp_path / 'got'
  pager.write_text(f'#!/bin/sh\necho "$LESS" > {got}\ncat >> {got}\n')
  pager.chmod(0o755)
  monkeypatch.setenv('PAGER', str(pager))
  monkeypatch.delenv('LESS', raising=False)
  monkeypatch.setenv('FORCE_COLOR', '1')  # rich takes standard output for a terminal
  monkeypatch.setattr('pydoc.pager', lambda text: subprocess.run(
    [os.environ['PAGER']], input=text, text=True, check=True))  # fmt: skip
  assert cli.main(['samples', str(run)]) == 0
  text = got.read_text()
  assert text.startswith('-FRX\n') and 'p700' in text and 'expected' in text
  assert capsys.readouterr().out == ''


def test_what_strangers_wrote_steers_no_terminal(run):
  folder = run.parent / '[red]\x1b[2J'
  shutil.copytree(run, folder)
  record = files.read_json(folder / 'config.json')
  files.write_json(folder / 'config.json', {**record, 'name': '[/x]\x07'})
  with metrics.make_writers(('jsonl',), folder, stages={'rl': 1}) as writer:
    said = {'prompt': 'p\x9b1m', 'completion': 'a\x1b]52;c;\x7fb', 'reward': 1.0}
    writer.samples(701, [{**said, 'components': {'c\x1b[m': 1.0}}], stage='rl')
  found = report.read_run(folder)
  calls = ((report.show, found), (report.compare, [found, found]), (report.show_samples, found))
  shown = ''.join(printed(function, what)[0] for function, what in calls)
  assert not re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f]', shown)
  assert '[red]␛[2J' in shown and '[/x]␇' in shown and 'a␛]52;c;␡b' in shown


def test_a_curve_of_a_line_shows_what_is_not_finite():
  assert report.sparkline([0.0, 1.0, float('nan'), 0.5]) == '▁█·▅'
  assert len(report.sparkline(range(1000), width=20)) == 20 and report.sparkline([]) == ''


def test_the_verbs(run, capsys, tmp_path):
  assert cli.main(['show', str(run)]) == 0 and 'reward/mean' in capsys.readouterr().out
  assert cli.main(['show', str(run), str(run)]) == 0 and '0.25 → 0.75' in capsys.readouterr().out
  assert cli.main(['samples', str(run), '--count=1', '--above=0.5']) == 0
  assert cli.main(['show', str(run), '--follow']) == 0
  assert cli.main(['report', str(run), f'--to={tmp_path}/page.html']) == 0
  assert (tmp_path / 'page.html').exists()


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    (['show'], 'show needs a work directory, or several'),
    (['show', 'nowhere'], 'nowhere: no run of rljax is there'),
    (['samples', 'a', 'b'], 'samples takes one work directory, and here are 2'),
    (['report', 'a', 'b'], 'call it for each; rljax show a b compares them'),
    (['show', 'a', 'b', '--follow'], 'show --follow takes one work directory, and here are 2'),
    (['report', 'a', '--config.seed=1'], "unknown argument '--config.seed=1'"),
  ],
)
def test_what_a_verb_cannot_read_is_said(arguments, told, capsys):
  assert cli.main(arguments) == 2 and told in capsys.readouterr().err


def test_samples_that_are_not_there_are_told_with_those_that_are(run, capsys):
  assert cli.main(['samples', str(run), '--iteration=9999']) == 2
  assert 'there are those of rl 1 … rl 700' in capsys.readouterr().err
  assert cli.main(['samples', str(run), '--page=2']) == 2
  assert 'there is no page 2' in capsys.readouterr().err
  assert cli.main(['samples', str(run), '--count=0']) == 2
  assert 'count=0: a page holds one completion or more' in capsys.readouterr().err
  assert cli.main(['samples', str(run), '--below=-1']) == 2
  assert 'has no such samples' in capsys.readouterr().err
