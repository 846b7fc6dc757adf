"""Secrets reach nothing that a run writes or prints."""

import os
import subprocess
import sys

import pytest
from test_judges import Server
from tiny_runs import run, small_machine

import rljax
from rljax import redaction, report

CANARY = 'canary-4f1d-of-the-key'
TOKEN = 'canary-9b2e-of-the-hub'
RESOLVABLE = dict(name='rewards.judges.Client', base_url='http://127.0.0.1:9/v1', model='m')


@pytest.fixture
def secrets(monkeypatch):
  monkeypatch.setenv('JUDGE', CANARY)  # hidden because a client names it
  monkeypatch.setenv('HF_TOKEN', TOKEN)
  monkeypatch.setenv('SHORT_TOKEN', 'abc')
  monkeypatch.setenv('APPLICATION_CREDENTIALS', '/home/somebody/key.json')


def test_what_counts_as_a_secret(secrets):
  redaction.hide('JUDGE')
  found = redaction.known()
  assert found['HF_TOKEN'] == TOKEN and found['JUDGE'] == CANARY
  assert not {'SHORT_TOKEN', 'APPLICATION_CREDENTIALS', 'PATH'} & set(found)
  text = redaction.redacted(f'401: {TOKEN}{CANARY} is wrong')
  assert text == '401: <HF_TOKEN><JUDGE> is wrong'


@pytest.mark.parametrize(
  ('client', 'words'),
  [
    (dict(options=dict(user=f'x{TOKEN}y')), 'options.user holds the value of .* HF_TOKEN'),
    (dict(options=dict(metadata=dict(Authorization='sk-1'))), 'Authorization holds a secret'),
    (dict(base_url='https://a.b/v1?api_key=sk-1'), 'base_url is an address with'),
    (dict(base_url='https://me:pw@a.b/v1'), 'base_url is an address with'),
    (dict(options=dict(stop=['a', TOKEN])), 'HF_TOKEN'),
  ],
)
def test_a_secret_in_a_config_is_refused_and_not_repeated(secrets, client, words):
  config = rljax.load_config('default').to_dict()
  judge = dict(name='rewards.judges.verified', generate={**RESOLVABLE, **client})
  config['rewards'] = {**config['rewards'], 'reward': judge}
  with pytest.raises(ValueError, match=words) as caught:
    rljax.config.resolve(config)
  assert TOKEN not in str(caught.value) and 'sk-1' not in str(caught.value)


def everything(folder):
  return b'\n'.join(p.name.encode() + p.read_bytes() for p in folder.rglob('*') if p.is_file())


@pytest.mark.thorough
def test_no_secret_in_a_work_directory(secrets, tmp_path, tmp_path_factory, capfd):
  def behave(number, body):
    if number % 2:
      return 401, f'the key {CANARY} and the token {TOKEN} are wrong'.encode(), {}
    return 200, {'choices': [{'message': {'content': 'Verdict: yes'}}]}, {}

  server = Server(behave)
  client = {**RESOLVABLE, 'base_url': server.url, 'key_variable': 'JUDGE', 'retries': 0}
  judge = dict(name='rewards.judges.verified', generate=client)
  folder = tmp_path / 'run'
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    run(folder, rewards=dict(reward=judge), stages=('rl',), writers=('jsonl', 'console'))
  server.shutdown()
  server.server_close()
  assert any(CANARY in str(headers) for headers in server.headers), 'the judge was asked'
  report.write_page(folder)
  written = everything(folder)
  assert b'judges.verified' in written and b'"reward/errors"' in written
  told = ''.join(capfd.readouterr())
  assert '<HF_TOKEN>' in told, 'errors of rewards are printed'
  for secret in (CANARY, TOKEN):
    assert secret.encode() not in written and secret not in told


def test_no_secret_in_a_crash(secrets):
  code = (
    'import os, sys\nfrom rljax import __main__, cli\n'
    "def f(argv): raise eval(os.environ['KIND'])(os.environ['HF_TOKEN'])\n"
    "cli.VERBS['crash'] = f\nsys.argv = ['rljax', 'crash']\n__main__.main()"
  )
  for kind, status in (('ValueError', 2), ('ZeroDivisionError', 1)):
    environment = {**os.environ, 'KIND': kind}
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, env=environment)
    assert found.returncode == status and b'<HF_TOKEN>' in found.stderr
    assert TOKEN.encode() not in found.stderr + found.stdout
