"""What a run looks like afterwards: in the terminal, as a page, its samples."""

import json
import re
import shutil
import subprocess

import pytest
import rich.console

from rljax import cli, config, files, metrics, report, workdir

NASTY = '</script><img src=x onerror=alert(1)> \u2028 "quoted" {{title}} & so on'


@pytest.fixture
def run(tmp_path):
  """A run of two stages that has not come to its end, as its files tell it."""
  folder = tmp_path / 'runs' / 'one'
  resolved = files.plain({**config.resolve(config.load('quickstart')).to_dict(), 'seed': 3})
  files.write_json(folder / 'config.json', {'name': 'quickstart', 'seed': 3, 'config': resolved})
  with metrics.make_writers(('jsonl',), folder, stages={'sft': 4, 'rl': 700}) as writer:
    for i in range(1, 5):
      writer.write(i, {'sft/loss': 4.0 / i, 'update/grad_norm': 1.0}, stage='sft')
    writer.write(0, {'eval/sorting/pass@1': 0.25, 'eval/sorting/pass@4': 0.5}, stage='rl')
    for i in range(1, 701):
      scalars = {'reward/mean': i / 700, 'reward/right': i / 1400, 'policy/entropy': 2.0}
      scalars['policy/loss'] = float('nan') if i == 7 else 0.1 * i
      writer.write(i, scalars, stage='rl')
      rows = [
        {'prompt': f'p{i}', 'completion': NASTY if i == 700 else 'x' * k, 'reward': float(k)}
        | {'components': {'right': k}, 'draw_id': i, 'sample_index': k, 'truncated': k == 1}
        for k in range(2)
      ]
      writer.samples(i, rows, stage='rl')
    writer.write(700, {'eval/sorting/pass@1': 0.75, 'eval/sorting/pass@4': 0.9}, stage='rl')
  return folder


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


def test_compare_has_a_column_for_each_run(run):
  found = report.read_run(run)
  text, _ = printed(report.compare, [found, found])
  assert text.count('0.25 → 0.75') == 2 and text.count('runs/one') == 2


def test_samples_are_of_one_iteration_and_the_others_are_counted(run):
  text, count = printed(report.show_samples, report.read_run(run), count=1)
  assert count == 2 and 'rl 700  p700' in text and '1 more; --count=2' in text
  assert text.index('right=1') and 'right=0' not in text  # the best comes first
  text, count = printed(report.show_samples, report.read_run(run), iteration=3, prompt='p3')
  assert count == 2 and 'rl 3  p3' in text
  assert printed(report.show_samples, report.read_run(run), iteration=4000)[1] == 0


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


def embedded(page):
  return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_everything_and_nothing_that_a_model_wrote_is_html(run):
  page = report.write_page(run).read_text()
  data = embedded(page)
  assert page.count('</script>') == 2 and '<img' not in page and 'http://' not in page.replace(
    'http://www.w3.org/2000/svg', ''
  )
  assert data['samples'][-2]['completion'] == NASTY and data['all_samples'] == 1400
  assert data['stages']['sft']['sft/loss']['y'] == [4.0, 2.0, 1.33333, 1.0]
  assert ['pass@1', 0.25, 0.75, 'fraction'] in data['table']


def test_a_long_curve_is_thinned_by_means_and_says_what_is_not_finite(run):
  curves = embedded(report.write_page(run).read_text())['stages']['rl']
  reward = curves['reward/mean']
  assert reward['of'] == 2 and len(reward['x']) == 350 and reward['x'][-1] == 700
  assert reward['y'][0] == pytest.approx(1.5 / 700, rel=1e-5)
  assert curves['policy/loss']['nonfinite'] == [7]


def test_the_page_works_in_a_browser(run, tmp_path):
  names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
  browser = next((found for name in names if (found := shutil.which(name))), None)
  if browser is None:
    pytest.skip(f'no {", ".join(names)} is installed')
  page = report.write_page(run)
  flags = ['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=5000']
  command = [browser, *flags, '--dump-dom', f'file://{page}']
  shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
  assert '<figure>' in shown and 'reward/mean' in shown and 'class="sample"' in shown


def test_the_verbs(run, capsys, tmp_path):
  assert cli.main(['show', str(run)]) == 0 and 'reward/mean' in capsys.readouterr().out
  assert cli.main(['show', str(run), str(run)]) == 0 and '0.25 → 0.75' in capsys.readouterr().out
  assert cli.main(['samples', str(run), '--count=1']) == 0
  assert cli.main(['report', str(run), f'--to={tmp_path}/page.html']) == 0
  assert (tmp_path / 'page.html').exists()


@pytest.mark.parametrize(
  ('arguments', 'told'),
  [
    (['show'], 'show needs a work directory, or several'),
    (['show', 'nowhere'], 'nowhere: no run of rljax is there'),
    (['samples', 'a', 'b'], 'samples needs a work directory'),
    (['report', 'a', '--config.seed=1'], "unknown argument '--config.seed=1'"),
  ],
)
def test_what_a_verb_cannot_read_is_said(arguments, told, capsys):
  assert cli.main(arguments) == 2 and told in capsys.readouterr().err


def test_samples_that_are_not_there_are_told_with_those_that_are(run, capsys):
  assert cli.main(['samples', str(run), '--iteration=9999']) == 2
  assert 'there are those of rl 1 … rl 700' in capsys.readouterr().err
