"""The page of a run: what it holds, and that it works in a browser."""

import glob
import html
import json
import os
import re
import shutil
import subprocess

import pytest
from written_runs import NASTY, written_run

from rljax import report

COMMANDS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')
PLACES = (
  '{playwright}/chromium*/chrome-linux*/*chrome*',
  '{playwright}/chromium*/chrome-mac*/*.app/Contents/MacOS/*',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
)
FLAGS = (
  '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--enable-logging=stderr',
  '--window-size=1240,1600', '--virtual-time-budget=5000',
)  # fmt: skip
# Before the page's own script: what goes wrong. Behind it: what a reader does, and what is seen.
WATCH = """<script>
window.wrong = [];
for (const kind of ['error', 'unhandledrejection', 'securitypolicyviolation'])
  addEventListener(kind, event => wrong.push(`${kind}: ${event.message || event.blockedURI}`));
for (const kind of ['error', 'warn']) console[kind] = (...said) => wrong.push(said.join(' '));
</script>"""
ACT = """<script>
addEventListener('load', () => {
  const seen = {}, one = id => document.getElementById(id);
  const all = query => [...document.querySelectorAll(query)];
  const names = () => all('figcaption').map(node => node.firstChild.textContent);
  const set = (id, value, event) => {
    one(id).value = value;
    one(id).dispatchEvent(new Event(event));
  };
  const shown = () => all('.sample').map(node => node.innerText);
  const press = text => all('button').find(node => node.textContent === text).click();
  seen.rl = names();
  seen.paths = all('svg path').filter(node => /NaN|undefined/.test(node.getAttribute('d'))).length;
  press('sft');
  seen.sft = names();
  seen.config = one('config').innerText;
  seen.table = one('before-after').innerText;
  seen.first = shown();
  press('next');
  seen.second = shown();
  seen.pages = one('pages').innerText;
  set('find', 'P70', 'input');
  seen.found = shown();
  set('find', '', 'input');
  set('iteration', '700', 'change');
  set('order', 'best', 'change');
  seen.best = shown();
  seen.images = all('img').length;
  seen.wrong = wrong;
  const told = document.createElement('pre');
  told.id = 'seen';
  told.textContent = JSON.stringify(seen);
  document.body.append(told);
});
</script>"""


@pytest.fixture
def run(tmp_path):
  return written_run(tmp_path / 'runs' / 'one')


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


def browser():
  """A Chromium: on the path, of Playwright, or an application; None: there is none."""
  on_path = (shutil.which(name) for name in COMMANDS)
  cache = os.environ.get('PLAYWRIGHT_BROWSERS_PATH') or os.path.expanduser('~/.cache/ms-playwright')
  found = (path for place in PLACES for path in sorted(glob.glob(place.format(playwright=cache))))
  programs = (path for path in found if os.path.isfile(path) and os.access(path, os.X_OK))
  return next((path for path in (*on_path, *programs) if path), None)


@pytest.fixture
def opened(tmp_path):
  """Opens a page: (what the browser prints, what its console said)."""
  program = browser()
  if program is None:
    pytest.skip(f'no Chromium: neither {", ".join(COMMANDS)} on the path nor one of Playwright')

  def go(page, *flags):
    profile = f'--user-data-dir={tmp_path}/profile'
    command = [program, *FLAGS, profile, *flags, f'file://{page}']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if 'CONSOLE' in line]

  return go


@pytest.mark.slow
def test_a_reader_finds_curves_samples_and_config_in_a_browser(run, opened, tmp_path):
  page = report.write_page(run)
  acting = tmp_path / 'acting.html'
  text = page.read_text()
  text = text.replace('<title>', f'{WATCH}<title>').replace('</body>', f'{ACT}</body>')
  acting.write_text(text)
  document, said = opened(acting, '--dump-dom')
  seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', document, re.DOTALL)[1]))
  assert seen['wrong'] == [] and said == [] and seen['images'] == 0
  kinds = ('reward/mean', 'reward/right', 'policy/entropy', 'policy/kl_ref', 'rollout/length_mean')
  assert {*kinds, 'group/zero_variance', 'policy/loss', 'eval/sorting/pass@1'} <= {*seen['rl']}
  assert seen['paths'] == 0 and 'sft/loss' in seen['sft'] and 'reward/mean' not in seen['sft']
  assert re.search(r'task.name\s+tasks.countdown\s+tasks.sorting', seen['config'])
  assert re.search(r'pass@1\s+25.0 %\s+75.0 %\s+\+50.0', seen['table'])
  assert len(seen['first']) == 25 and seen['second'][0] not in seen['first']
  assert 'page 2 of 56' in seen['pages']
  assert len(seen['found']) == 4 and 'p700' in seen['found'][2]
  assert len(seen['best']) == 2 and 'expected a700' in seen['best'][0]
  assert 'reward 1' in seen['best'][0] and NASTY in seen['best'][0]


@pytest.mark.slow
def test_a_page_as_it_is_says_nothing_on_the_console(run, opened, tmp_path):
  picture = tmp_path / 'page.png'
  _, said = opened(report.write_page(run), f'--screenshot={picture}')
  assert said == [] and picture.stat().st_size > 50_000
