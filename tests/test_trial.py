"""Functions of the user's that are wrong are refused before anything runs, and by their names."""

import contextlib
import sys
import types

import jax.numpy as jnp
import pytest
from tiny_runs import tiny_config

from rljax import assembly, config
from rljax.stages import make_stage, trial
from rljax.stages.trial import try_update
from rljax.train import train

MODULE = 'my_functions'


def ratio(logprobs, old_logprobs, advantages):
  return -jnp.exp(logprobs - old_logprobs) * advantages, {}


def mean(logprobs, advantages):
  return -jnp.mean(logprobs * advantages), {}


def of_rows(logprobs, advantages):
  return -jnp.sum(logprobs * advantages, axis=-1), {}


def misspelt(logprobs, advantages):
  return -logprob * advantages, {}  # noqa: F821


def transposed(logprobs, advantages):
  return -(logprobs @ advantages), {}


def diagnostics(logprobs):
  return -logprobs, logprobs


def of_places(logprobs):
  return -logprobs, {'first': logprobs[:, 0]}


def centred(rewards):
  return rewards - jnp.mean(rewards)


def with_returns(rewards):
  return rewards, rewards


def mean_kl(policy_logprobs, ref_logprobs):
  return jnp.mean(policy_logprobs - ref_logprobs), {}


def one_for_all(rewards):
  return jnp.mean(rewards)


def number(action_mask):
  return 1.0


def first_few(rewards):
  return rewards[:3]


def kept_only(action_mask):
  return action_mask


def per_row(action_mask):
  kept = action_mask.sum(-1) > 0
  return kept, kept


OWN = (
  ratio, mean, of_rows, misspelt, transposed, diagnostics, of_places, centred, with_returns,
  mean_kl, one_for_all, number, first_few, kept_only, per_row,
)  # fmt: skip
EACH = r'an array with the value of each {} \[.*\]'.format


@pytest.fixture(scope='module')
def world():
  module = types.ModuleType(MODULE)
  for function in OWN:
    function.__module__ = MODULE
    setattr(module, function.__name__, function)
  with pytest.MonkeyPatch.context() as patch:
    patch.setitem(sys.modules, MODULE, module)
    made = assembly.assemble(config.resolve(tiny_config()))
    with contextlib.closing(made):
      yield made


def stage_with(world, settings=(), **functions):
  """The stage 'rl' with other settings and functions, by their keys."""
  node = {**world.config.rl.to_dict(), **dict(settings)}
  for key, function in functions.items():
    named = {'name': f'{MODULE}.{function.__name__}'}
    node[key] = {'mine': named} if key in ('selections', 'reward_shaping') else named
  changed = config.resolve({**world.config.to_dict(), 'rl': node})
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(world, 'config', changed)
    return make_stage('rl', world)


def test_what_is_right_passes(world):
  try_update(stage_with(world, loss=ratio, advantage=centred))


@pytest.mark.parametrize(
  ('key', 'function', 'message'),
  [
    ('loss', mean, rf'mean is named as a loss and returns an array of shape \[\]; {EACH("token")}'),
    ('loss', of_rows, rf'of_rows .* of shape \[8\]; {EACH("token")} is needed: the weights'),
    ('loss', misspelt, r"misspelt fails, .*: NameError: .*'logprob'.* \(test_trial.py, line \d+"),
    ('loss', transposed, r'rl: transposed fails, tried with 8 rows of 16 tokens: TypeError'),
    ('loss', diagnostics, r'diagnostics is named as a loss; a loss returns \(its values'),
    ('loss', of_places, r'of_places: its diagnostic first has the shape \[8\]; that of the loss'),
    ('advantage', one_for_all, rf'one_for_all .* {EACH("sample")} or of each token'),
    ('advantage', with_returns, rf'with_returns is named as returns .*{EACH("token")}'),
    ('advantage', first_few, r'first_few is named as an advantage .* of shape \[3\]'),
    ('weights', number, rf'number is named as weights and returns a float; {EACH("token")}'),
    ('reward_shaping', first_few, rf'first_few .* a shaping of rewards .*{EACH("sample")}'),
    ('selections', kept_only, r'kept_only is named as a selection .*returns \(kept, counted\)'),
    ('selections', per_row, rf'per_row .* a selection .*{EACH("sample")} or of each token'),
    ('correction', kept_only, r'kept_only is named as a correction .*returns \(weights, counted\)'),
  ],
)
def test_what_is_wrong_is_named(world, key, function, message):
  with pytest.raises(ValueError, match=message):
    try_update(stage_with(world, **{key: function}))


@pytest.mark.parametrize('placement', ['loss', 'reward'])
def test_a_mean_kl_is_named_wherever_it_stands(world, placement):
  settings = dict(kl_coef=0.1, kl_placement=placement)
  with pytest.raises(ValueError, match=rf'mean_kl is named as a (KL|loss) .*{EACH("token")}'):
    try_update(stage_with(world, settings, advantage=centred, kl=mean_kl))


def test_functions_of_rljax_are_not_tried(world, monkeypatch):
  monkeypatch.setattr(trial.outlines, 'batch', lambda *_: pytest.fail('traced'))
  try_update(make_stage('rl', world))


def test_it_is_said_before_the_first_stage(world, tmp_path):
  wrong = dict(rl=dict(loss=dict(name=f'{MODULE}.mean')))
  with pytest.raises(ValueError, match='mean is named as a loss'):
    train(tiny_config(**wrong), workdir=tmp_path / 'run')
  lines = tmp_path / 'run' / 'metrics.jsonl'
  assert not lines.exists() or not lines.read_text()
