"""The command line: verbs, flags, messages, exit codes; and the accelerator that must be seen."""

import os
import subprocess
import sys
import types

import pytest

from rljax import cli, devices, interruptions
from rljax.out_of_memory import OutOfMemoryError


@pytest.fixture
def here(tmp_path, monkeypatch):
  """An empty working directory, an import path and jax settings that are put back."""
  import jax

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, 'path', list(sys.path))
  monkeypatch.setenv('RLJAX_DATA', str(tmp_path / 'data'))
  kept = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
  )
  before = {name: getattr(jax.config, name) for name in kept}
  yield tmp_path
  for name, value in before.items():
    jax.config.update(name, value)


@pytest.fixture
def trained(monkeypatch):
  """What `rljax train` hands to the trainer; an exception in 'raise' is raised by it."""
  seen = {}

  def train(config, **options):
    seen.update(options, config=config)
    if 'raise' in seen:
      raise seen['raise']

  fake = types.SimpleNamespace(train=train, HealthError=type('HealthError', (RuntimeError,), {}))
  seen['HealthError'] = fake.HealthError
  monkeypatch.setitem(sys.modules, 'rljax.train', fake)
  return seen


def test_usage_names_the_verbs(capsys):
  assert cli.main([]) == cli.main(['--help']) == 0
  out = capsys.readouterr().out
  assert 'train ' in out and 'configs ' in out
  assert len(out.splitlines()) <= 2 * 24 and max(map(len, out.splitlines())) <= 100  # a screen
  assert cli.main(['--version']) == 0 and capsys.readouterr().out.startswith('rljax 0.')


@pytest.mark.parametrize(
  ('command', 'message'),
  [
    ('trian', "unknown verb 'trian'; did you mean train?"),
    ('zzz', 'there are train, show'),
    ('train', 'train needs --config=<name or path>'),
    ('train --config=quikstart', 'did you mean quickstart'),
    ('train --config=missing.py', 'no config file missing.py'),
    ('train --config=quickstart --sed=1', "'sed'. Did you mean: seed"),
    ('train --config=quickstart --seed=x', '--seed=x'),
    ('train --config=quickstart extra', "unknown argument 'extra'"),
    ('train --config=quickstart --config.rl.sampels=3', 'did you mean rl.samples'),
    ('train --config=quickstart --config.rl.sampel=3', 'did you mean rl.samples'),
    ('train --config=quickstart --config.rl.lr=1', 'did you mean rl.optimizer.learning_rate'),
    ('train --config=quickstart --config.rl.clip_high=1', 'did you mean rl.loss.clip_high'),
    ('train --config=quickstart --config.rl.loss.kl_coef=1', 'did you mean rl.kl_coef'),
    ('train --config=quickstart --config.learning_rate=1', 'mean rl.optimizer.learning_rate'),
    ('train --config=quickstart --config.rl.loss.nme=1', 'did you mean rl.loss'),
    ('train --config=grpo', 'did you mean presets/grpo'),
    ('train --config=quickstart --config.rl.samples=x', 'rl.samples=x'),
    ('train --config=quickstart --config.rl.loss.name=losses.nope', "no 'nope'"),
    ('configs --copy=quikstart', 'did you mean quickstart'),
    ('configs --config.rl.samples=3', 'unknown argument'),
  ],
)
def test_a_mistake_is_one_line(here, trained, capsys, command, message):
  assert cli.main(command.split()) == 2
  error = capsys.readouterr().err
  assert message in error and error.startswith('rljax: ') and error.count('\n') == 1
  assert 'config' not in trained


def test_train_hands_over_what_the_user_said(here, trained, capsys):
  command = 'train --config=quickstart --seed=7 --restart --accept_config_change=rl.iterations,seed'
  assert cli.main([*command.split(), '--config.rl.samples=3', '--noconfig.health_check']) == 0
  assert trained['config'].rl.samples == 3 and not trained['config'].health_check
  assert trained['seed'] == trained['config'].seed == 7
  assert trained['restart'] and trained['accept_config_change'] == ('rl.iterations', 'seed')
  assert trained['workdir'].startswith('runs/quickstart/') and trained['workdir'].endswith('-s7')
  first, second, *rest = capsys.readouterr().out.splitlines()
  assert 'settings besides those of configs/default.py' in rest[0]
  assert any(line.startswith('  rl: ') for line in rest) and 'samples=3' in ' '.join(rest)
  assert not any('losses.clipped_surrogate' in line for line in rest)  # the default
  assert max(map(len, rest)) <= 100
  assert first.startswith('config ') and first.endswith('configs/quickstart.py')
  assert 'cpu' in second
  assert cli.main(['train', '--config', 'quickstart', '--workdir', 'mine']) == 0
  assert trained['workdir'] == 'mine' and not trained['restart']


def test_a_dropped_hyper_parameter_is_printed(here, trained, capsys):
  cli.main(['train', '--config=ppo', '--config.rl.advantage.name=advantages.group_normalize'])
  assert 'advantages.gae -> advantages.group_normalize; dropped: gae_lambda=' in (
    capsys.readouterr().out
  )


def test_deterministic_sets_the_flag_before_a_gpu_is_used(monkeypatch):
  import jax
  from jax._src import xla_bridge

  flag, began = '--xla_gpu_deterministic_ops', [False]
  monkeypatch.setattr(devices, 'hardware', lambda: 'gpu')
  monkeypatch.setattr(xla_bridge, 'backends_are_initialized', lambda: began[0])
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  monkeypatch.setenv('XLA_FLAGS', '--xla_a=1')
  devices.make_deterministic()
  devices.make_deterministic()
  assert os.environ['XLA_FLAGS'] == f'--xla_a=1 {flag}=true'
  began[0] = True
  devices.make_deterministic()  # it is there
  monkeypatch.setenv('XLA_FLAGS', '')
  with pytest.raises(devices.DeviceError, match='jax has begun to use the GPU without the flag'):
    devices.make_deterministic()
  monkeypatch.setenv('XLA_FLAGS', f'{flag}=false')
  with pytest.raises(devices.DeviceError, match=f'XLA_FLAGS says {flag}=false'):
    devices.make_deterministic()
  monkeypatch.setattr(devices, 'hardware', lambda: '')
  devices.make_deterministic()
  assert os.environ['XLA_FLAGS'] == f'{flag}=false'


def test_deterministic_is_a_switch_of_the_config(here, trained, monkeypatch):
  asked = []
  monkeypatch.setattr(devices, 'make_deterministic', lambda: asked.append(True))
  assert cli.main(['train', '--config=quickstart']) == 0 and not asked
  assert cli.main(['train', '--config=quickstart', '--config.deterministic']) == 0 and asked


def test_compiled_programs_are_kept(here, trained, monkeypatch):
  import jax

  jax.config.update('jax_compilation_cache_dir', None)
  cli.main(['train', '--config=quickstart'])
  assert jax.config.jax_compilation_cache_dir == str(here / 'data' / 'compiled')
  jax.config.update('jax_compilation_cache_dir', '/elsewhere')
  cli.main(['train', '--config=quickstart'])
  assert jax.config.jax_compilation_cache_dir == '/elsewhere'


def test_ctrl_c_says_how_to_go_on(here, trained, capsys):
  trained['raise'] = KeyboardInterrupt()
  assert cli.main(['train', '--config=quickstart', '--config.rl.samples=3', '--restart']) == 130
  command = 'rljax train --config=quickstart --config.rl.samples=3 --workdir=runs/quickstart/'
  assert command in capsys.readouterr().err


def test_an_interrupted_run_has_a_status_of_its_own(here, trained, capsys):
  trained['raise'] = interruptions.Interrupted('SIGTERM: iteration 3 of stage rl is saved')
  assert cli.main(['train', '--config=quickstart']) == 75
  said = capsys.readouterr().err
  assert 'SIGTERM: iteration 3 of stage rl is saved; this goes on from there: rljax train' in said


def test_errors_of_the_run(here, trained, capsys):
  trained['raise'] = ValueError('the prompt 3 has 40 tokens;\n  max_prompt is 12')
  assert cli.main(['train', '--config=quickstart']) == 2
  assert capsys.readouterr().err == 'rljax: the prompt 3 has 40 tokens; max_prompt is 12\n'
  with pytest.raises(ValueError, match='max_prompt'):
    cli.main(['train', '--config=quickstart', '--traceback'])
  trained['raise'] = trained['HealthError']('all rewards are equal')
  assert cli.main(['train', '--config=quickstart']) == 1
  assert 'stopped itself: all rewards are equal' in capsys.readouterr().err
  trained['raise'] = OutOfMemoryError('out of memory\n  parameters  2 MiB')
  assert cli.main(['train', '--config=quickstart', '--seeds=0,1']) == 1
  assert capsys.readouterr().err == 'rljax: out of memory\n  parameters  2 MiB\n'
  trained['raise'] = TypeError('a mistake of the program keeps its traceback')
  with pytest.raises(TypeError):
    cli.main(['train', '--config=quickstart'])


def test_configs_lists_shows_and_copies(here, capsys):
  assert cli.main(['configs']) == 0
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines] == sorted(line.split()[0] for line in lines)
  assert any(line.startswith('quickstart ') and 'Sorting' in line for line in lines)
  assert not any('.py' in line for line in lines)  # where rljax's own stand is nobody's business

  assert cli.main(['configs', '--copy=quickstart']) == 0
  mine = here / 'configs' / 'quickstart.py'
  mine.write_text(f'{mine.read_text()}# edited\n')
  capsys.readouterr()
  assert cli.main(['configs']) == 0
  told = [line for line in capsys.readouterr().out.splitlines() if '.py' in line]
  assert [line.split()[0] for line in told] == ['quickstart']
  assert told[0].endswith('(configs/quickstart.py)')
  assert cli.main(['configs', '--copy=quickstart']) == 2
  assert 'configs/quickstart.py exists' in capsys.readouterr().err
  assert cli.main(['configs', '--copy=quickstart', '--to=mine.py']) == 0
  assert mine.read_text().endswith('# edited\n')  # it is not overwritten; it is what is copied
  assert (here / 'mine.py').read_text() == mine.read_text()
  capsys.readouterr()

  assert cli.main(['configs', '--show=mine.py', '--config.rl.samples=5']) == 0
  assert 'samples=5' in capsys.readouterr().out


@pytest.mark.parametrize('form', ['module', 'script'])
def test_modules_beside_the_user_are_found(tmp_path, form):
  """In the current directory and in the config's, by `python -m rljax` and by `rljax`."""
  (tmp_path / 'my_paper.py').write_text('def loss(logprobs, *, strength: float = 2.0): ...\n')
  folder = tmp_path / 'mine'
  folder.mkdir()
  (folder / 'beside.py').write_text('def advantage(rewards, *, margin: float = 3.0): ...\n')
  (folder / 'config.py').write_text(
    'import rljax\n\n\ndef get_config():\n'
    "  config = rljax.load_config('default')\n"
    "  config.rl.loss = dict(name='my_paper.loss')\n"
    "  config.rl.advantage = dict(name='beside.advantage')\n"
    '  return config\n'
  )
  script = 'import sys; sys.path[:1] = []; from rljax.__main__ import main; main()'
  start = [sys.executable, '-m', 'rljax'] if form == 'module' else [sys.executable, '-c', script]
  answer = subprocess.run(
    [*start, 'configs', '--show=mine/config.py'], cwd=tmp_path, capture_output=True, text=True
  )
  assert answer.returncode == 0, answer.stderr
  assert 'my_paper.loss(strength=2.0)' in answer.stdout
  assert 'beside.advantage(margin=3.0)' in answer.stdout


def test_the_first_line_waits_for_no_jax():
  code = (
    "import sys; from rljax import cli; cli.main(['train', '--config=nowhere.py'])\n"
    "print(*sorted({'jax', 'rich', 'orbax', 'optax'} & {*sys.modules}))"
  )
  found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert found.stdout == '\n' and 'no config file nowhere.py' in found.stderr


def pretend(monkeypatch, hardware, platform, chosen=''):
  import jax

  monkeypatch.setattr(devices, 'hardware', lambda: hardware)
  device = types.SimpleNamespace(platform=platform, device_kind='kind')
  monkeypatch.setattr(jax, 'devices', lambda: [device])
  monkeypatch.setenv('JAX_PLATFORMS', chosen)


@pytest.mark.parametrize(
  ('hardware', 'platform', 'chosen', 'allow_cpu', 'line'),
  [
    ('', 'cpu', '', False, 'no accelerator in this machine'),
    ('gpu', 'gpu', '', False, '1 × kind (gpu)'),
    ('gpu', 'cpu', '', True, 'the GPU of this machine stays idle (--allow_cpu)'),
    ('tpu', 'cpu', 'cpu', False, 'the TPU of this machine stays idle (JAX_PLATFORMS=cpu)'),
  ],
)
def test_devices_are_told(monkeypatch, hardware, platform, chosen, allow_cpu, line):
  pretend(monkeypatch, hardware, platform, chosen)
  assert line in devices.check_accelerator(allow_cpu=allow_cpu)


@pytest.mark.parametrize(('hardware', 'extra'), [('gpu', 'jax[cuda13]=='), ('tpu', 'jax[tpu]==')])
def test_an_idle_accelerator_stops_the_run(
  here, trained, monkeypatch, capsys, hardware, extra
):
  pretend(monkeypatch, hardware, 'cpu')
  with pytest.raises(devices.DeviceError, match=f'this machine has a {hardware.upper()}') as error:
    devices.check_accelerator()
  assert extra in str(error.value) and '--allow_cpu' in str(error.value)
  assert devices.warnings() == [f'warning: {error.value}']
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  assert devices.warnings() == []
  monkeypatch.setenv('JAX_PLATFORMS', '')
  assert cli.main(['train', '--config=quickstart']) == 2
  assert 'config' not in trained
  assert cli.main(['train', '--config=quickstart', '--allow_cpu']) == 0


def test_hardware_is_looked_for_without_jax(monkeypatch):
  files = {}
  monkeypatch.setattr(devices.glob, 'glob', lambda pattern: files.get(pattern, []))
  monkeypatch.setattr(devices.shutil, 'which', lambda name: None)
  assert devices.hardware() == ''
  files['/dev/accel[0-9]*'] = ['/dev/accel0']
  assert devices.hardware() == 'tpu'
  files['/dev/nvidia[0-9]*'] = ['/dev/nvidia0']
  assert devices.hardware() == 'gpu'
