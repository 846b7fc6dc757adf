"""The `gsm8k` config on a model and a tokenizer made here; runs that start from other runs."""

import dataclasses
import json
import os
import pathlib

import jax
import numpy as np
import pytest
from tiny_runs import merge, run, small_machine, tiny_config

import rljax
from rljax import assembly, checkpoint, config, files, metrics, models, rewards, tasks, tokenization
from rljax.prompts import Completion
from rljax.tasks.gsm8k import reward as gsm8k_reward
from rljax.train import train

REAL = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'gsm8k'
REAL = pathlib.Path(os.environ.get('RLJAX_GSM8K', REAL))


@pytest.fixture(scope='module', autouse=True)
def machine(tmp_path_factory):
  with small_machine(tmp_path_factory.getbasetemp() / 'programs'):
    yield


def made_up(folder):
  """Word problems in the form of the data set."""
  folder.mkdir()
  for split, first in (('train', 0), ('test', 100)):
    records = [
      {
        'question': f'Ann has {n} apples and buys {n % 7} more. How many apples has Ann?',
        'answer': f'{n} + {n % 7} = <<{n}+{n % 7}={n + n % 7}>>{n + n % 7}\n#### {n + n % 7}',
      }
      for n in range(first + 1, first + 21)
    ]
    (folder / f'{split}.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in records))
  return folder


def qwen2(folder, texts):
  """A random Qwen2-style directory with a tokenizer trained on `texts`."""
  import tokenizers

  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  trainer = tokenizers.trainers.BpeTrainer(
    vocab_size=400,
    special_tokens=['<|endoftext|>'],
    initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  tokenizer.train_from_iterator(texts, trainer)
  shape = models.DecoderConfig(
    vocab_size=512,  # more than the tokenizer has, as in the models that one downloads
    num_layers=1, d_model=32, num_heads=2, num_kv_heads=1,
    d_ff=64, qkv_bias=True, rope_theta=1e6,
  )  # fmt: skip
  policy = models.decoder(**dataclasses.asdict(shape))
  models.export(folder, policy.init(jax.random.key(3)), shape, eos_ids=(0,), pad_id=0)
  tokenizer.save(str(folder / 'tokenizer.json'))
  return folder


@pytest.mark.parametrize('which', ['made up', pytest.param('real', marks=pytest.mark.thorough)])
def test_gsm8k(tmp_path, which):
  """Three iterations of the shipped config: bfloat16, remat, rewards on the real answers."""
  if which == 'real' and not (REAL / 'train.jsonl').exists():
    pytest.skip(f'needs {REAL}: put the jsonl there or set RLJAX_GSM8K')
  data = REAL if which == 'real' else made_up(tmp_path / 'data')
  task = tasks.gsm8k(path=str(data))
  model = qwen2(tmp_path / 'model', [p.text + p.metadata['solution'] for p in task.train[:200]])
  changes = dict(
    task=dict(path=str(data)),
    model=dict(path=str(model)),
    rewards=dict(workers=0),
    evaluation=dict(num_prompts=4, samples=2, ks=(1, 2), batch=8),
    rl=dict(iterations=3, prompts=2, samples=4, max_prompt=512, max_new_tokens=12, rows=2),
    writers=('jsonl',),
    health_check=False,  # a random model does no sums
  )
  summary = train(
    merge(rljax.load_config('gsm8k').to_dict(), changes), workdir=str(tmp_path / 'w')
  )
  assert summary['end']['errors'] == 0 and summary['config']['model']['remat'] == 'full'
  rows = metrics.read_metrics(tmp_path / 'w')
  assert [row['iteration'] for row in rows] == [0, 1, 2, 3]
  samples = files.read_jsonl(tmp_path / 'w' / 'samples.jsonl')
  assert len(samples) == 3 * 8
  answers = {p.prompt_id: p.answer for p in task.train}
  for row in samples:
    assert row['reward'] == gsm8k_reward(row['completion'], answers[row['prompt_id']])
    assert row['prompt'] == task.train[row['prompt_id']].text
  with rewards.Scorer(task.reward, workers=0) as scorer:
    right = [
      Completion(prompt=p, tokens=(), text=task.demonstrate(p), truncated=False)
      for p in task.test[:8]
    ]
    assert scorer.score(right).rewards.tolist() == [1.0] * 8
  # A run that starts from this one finds the tokenizer where this one had it.
  changes['model'] = dict(path=str(tmp_path / 'w'))
  config_ = config.resolve(merge(rljax.load_config('gsm8k').to_dict(), changes))
  world = assembly.assemble(config_)
  world.close()
  assert 256 < world.tokenizer.vocab_size <= 400 and world.model['vocab_size'] == 512
  assert world.model['qkv_bias']
  tokenizer = tokenization.huggingface(path=str(model))
  for text in (task.train[0].text, task.demonstrate(task.train[0])):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.fixture(scope='module')
def warm(tmp_path_factory):
  """The work directory of a finished SFT run."""
  path = tmp_path_factory.mktemp('warm') / 'w'
  run(path, stages=('sft',), sft=dict(iterations=2))
  return path


@pytest.mark.thorough
def test_a_run_starts_from_another_run(tmp_path, warm):
  start = checkpoint.load_params(warm)
  changes = dict(stages=('rl',), model=dict(path=str(warm)), checkpoint_every=9)
  changes |= dict(rl=dict(iterations=1, optimizer=dict(learning_rate=0.0)))
  config_ = tiny_config(**changes)
  config_['model'] = dict(name='models.decoder', path=str(warm))  # its shape is in its directory
  train(config_, workdir=str(tmp_path / 'w'))
  for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(checkpoint.load_params(tmp_path / 'w'))):
    np.testing.assert_array_equal(a, b)
  # And a third one from the second.
  assert files.read_json(tmp_path / 'w' / 'model.json') == files.read_json(warm / 'model.json')


@pytest.mark.slow
def test_a_value_head_on_a_policy_that_has_none(tmp_path, warm):
  changes = dict(
    stages=('rl',),
    model=dict(path=str(warm)),
    checkpoint_every=9,
    rl=dict(
      iterations=2,
      minibatches=2,
      advantage=dict(name='advantages.gae'),
      value=dict(name='losses.clipped_value'),
    ),
  )
  run(tmp_path / 'w', **changes)
  rows = metrics.read_metrics(tmp_path / 'w')
  assert all(np.isfinite(row['value/loss']) for row in rows[1:])
  trained, before = checkpoint.load_params(tmp_path / 'w'), checkpoint.load_params(warm)
  assert trained.keys() - before.keys() == {'value_head'}
  # Back to a policy alone: the head is dropped.
  back = tiny_config(**merge(changes, dict(model=dict(path=str(tmp_path / 'w')))))
  back['rl'] |= dict(advantage=dict(name='advantages.group_normalize'), value=None)
  world = assembly.assemble(config.resolve(back))
  world.close()
  assert 'value_head' not in world.params['policy']
  # To a head of another size: it is new, and of the bins of its loss.
  bins = dict(value=dict(name='losses.hl_gauss_value', low=0.0, high=1.0, num_bins=9))
  other = merge(changes, dict(model=dict(path=str(tmp_path / 'w')), rl=bins))
  histogram = assembly.assemble(config.resolve(tiny_config(**other)))
  histogram.close()
  found = histogram.params['policy']['value_head']
  assert trained['value_head'].shape == (16,) and found.shape == (16, 9) and not np.any(found)
  np.testing.assert_array_equal(histogram.params['policy']['embedding'], trained['embedding'])
  for name in before:
    for a, b in zip(jax.tree.leaves(trained[name]), jax.tree.leaves(world.params['policy'][name])):
      np.testing.assert_array_equal(a, b)


def length(tokens):
  return len(tokens) / 4


@pytest.mark.slow
def test_a_critic_of_its_own(tmp_path, warm):
  critic = dict(name='models.decoder', num_layers=1, d_model=16, num_heads=2, num_kv_heads=1)
  run(
    tmp_path / 'w',
    stages=('rl',),
    model=dict(path=str(warm)),
    rewards=dict(reward='test_end_to_end.length'),
    checkpoint_every=9,
    rl=dict(
      iterations=2,
      samples=1,
      prompts=8,
      minibatches=2,
      advantage=dict(name='advantages.gae'),
      value=dict(name='losses.clipped_value'),
      critic=critic,
    ),
  )
  saved = checkpoint.load_params(tmp_path / 'w', role='value')
  assert 'value_head' in saved and 'value_head' not in checkpoint.load_params(tmp_path / 'w')
  assert float(np.abs(saved['value_head']).sum()) > 0


def test_a_tokenizer_without_a_place(tmp_path):
  with pytest.raises(ValueError, match=r'neither config\.tokenizer\.path nor config\.model\.path'):
    run(tmp_path / 'w', tokenizer=dict(name='tokenization.huggingface', path=''))


def test_a_tokenizer_that_does_not_fit_the_run(tmp_path, warm):
  with pytest.raises(ValueError, match=r'259 ids.*only 7'):
    run(
      tmp_path / 'w',
      stages=('rl',),
      model=dict(path=str(warm)),
      tokenizer=dict(name='tokenization.byte_level'),
    )
