"""What the README shows runs."""

import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

from rljax import config, methods, objective, overrides

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'^```python\n(.*?)^```', README, re.DOTALL | re.MULTILINE)


def test_the_loss_runs(capsys):
  (code,) = (b for b in BLOCKS if 'losses.' in b)
  scope = {}
  exec(compile(code, 'README.md', 'exec'), scope)
  assert capsys.readouterr().out.startswith('[[')
  gradient = jax.grad(scope['loss'])(scope['old_logprobs'] + 0.1)[0]
  assert gradient[0] < 0 < gradient[2] and gradient[3] == 0


def test_the_reward_runs_where_its_command_puts_it(tmp_path, monkeypatch):
  (code,) = (b for b in BLOCKS if b.startswith('# my_reward.py'))
  (tmp_path / 'my_reward.py').write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  command = re.search(r'^    rljax train (.*my_reward.*)$', README, re.MULTILINE)[1].split()
  name = command[0].removeprefix('--config=')
  changed, _ = overrides.override(config.load(name), command[1:])
  from rljax.binding import resolve

  reward = resolve(config.resolve(changed).rewards.reward.name)
  assert reward('abchkpqwxz', 'abchkpqwxz') == {'reward': 1.0, 'right': 1.0, 'start': 1.0}
  assert reward('abhckpqwxz', 'abchkpqwxz') == {'reward': 0.1, 'right': 0.0, 'start': 0.2}
  assert reward('', 'abchkpqwxz')['reward'] == 0.0
  sys.modules.pop('my_reward')


def test_a_loss_of_ones_own(tmp_path, monkeypatch):
  (code,) = (b for b in BLOCKS if b.startswith('# my_loss.py'))
  (tmp_path / 'my_loss.py').write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  command = re.search(r'^    rljax train (.*my_loss.*)$', README, re.MULTILINE)[1].split()
  changed, _ = overrides.override(config.load('quickstart'), command[1:])
  bound = objective.build(config.resolve(changed).rl).terms['policy']
  old, given = jnp.zeros((1, 2)), jnp.array([[0.3, -1.0]])
  known = {'logprobs': given, 'old_logprobs': old, 'advantages': jnp.array([[1.0, -1.0]])}
  loss, seen = bound(known, bound.hyper(0))
  clipped = 0.1 * np.tanh((np.exp(given) - 1) / 0.1)
  np.testing.assert_allclose(loss, -known['advantages'] * clipped, rtol=1e-5)
  assert np.all(np.abs(loss) < 0.1)
  np.testing.assert_allclose(seen['ratio'], np.exp(given), rtol=1e-6)
  sys.modules.pop('my_loss')


def test_a_method_of_ones_own(tmp_path, monkeypatch):
  files = ('# my_paper.py', '# test_my_paper.py')
  code, test = (next(b for b in BLOCKS if b.startswith(name)) for name in files)
  assert len((code + test).splitlines()) < 40
  (tmp_path / 'my_paper.py').write_text(code)
  monkeypatch.syspath_prepend(tmp_path)
  scope = {}
  exec(compile(test, 'README.md', 'exec'), scope)
  scope['test_how_large_a_reward_is_does_not_matter']()
  settings = config.resolve(config.load(str(tmp_path / 'my_paper.py')))
  assert objective.build(settings.rl).advantage.name == 'signs'
  sys.modules.pop('my_paper')


def test_the_summary_of_methods_is_that_of_the_configs():
  text = README.split('<!-- methods: rljax methods --summary -->')[1].split('<!--')[0]
  assert text.strip() == methods.summary(methods.methods()).strip()


def test_both_commands_are_marked_and_on_one_line():
  for name in ('quickstart', 'tests'):
    pattern = rf'^<!-- command: {name} -->\n```\n(.*?)\n```'
    found = re.search(pattern, README, re.DOTALL | re.MULTILINE)
    assert found and '\n' not in found[1] and found[1].count(' && ') == 2


def test_links_lead_somewhere():
  for target in re.findall(r'\]\((?!https?:)([^)#]+)\)', README):
    assert (ROOT / target).exists(), target
