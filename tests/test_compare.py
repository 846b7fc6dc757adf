"""The comparison of configs: its statistics, its verdicts, what arms share, and a whole one."""

import csv
import importlib
import json
import math
import pathlib
import sys

import jax
import numpy as np
import pytest
from scipy import stats
from tiny_runs import ROWS, small_machine, tiny_config

from rljax import checkpoint, config

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / 'experiments'
sys.path.append(str(EXPERIMENTS))

compare = importlib.import_module('compare')
arms, effects, plots, report, runs = (
  importlib.import_module(f'comparison.{name}')
  for name in ('arms', 'effects', 'plots', 'report', 'runs')
)

# -- statistics


def test_the_area_is_the_mean_over_samples():
  samples, rewards = [10, 20, 60], [0.5, 0.7, 0.1]
  assert effects.area(samples, rewards) == pytest.approx((5 + 7 + 4) / 60)
  assert effects.area(samples, rewards, until=15) == pytest.approx((5 + 3.5) / 15)


def test_paired_interval():
  ours, theirs = [0.5, 0.7, 0.6, 0.9, 0.55], [0.4, 0.65, 0.5, 0.6, 0.5]
  effect = effects.paired(ours, theirs)
  known = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
  assert (effect.low, effect.high) == pytest.approx((known.low, known.high))
  # By hand: differences .1 .05 .1 .3 .05, mean .12, standard deviation √(.043/4), t = 2.776.
  assert effect.mean == pytest.approx(0.12)
  assert effect.half_width == pytest.approx(2.7764 * math.sqrt(0.043 / 4 / 5), rel=1e-4)
  assert math.isnan(effects.paired([1.0], [0.5]).low)
  assert effects.paired([1.0, 1.0], [0.5, 0.5]).low == 0.5


def test_interquartile_mean():
  assert effects.interquartile_mean([9.0, 1, 2, 3, 4, 5, 6, -50]) == pytest.approx(3.5)
  values = np.random.default_rng(0).normal(size=40)
  mean, low, high = effects.interquartile_interval([values])
  assert mean == pytest.approx(stats.trim_mean(values, 0.25)) and low < mean < high
  # Strata are drawn each from itself: with constant ones there is nothing to draw.
  assert effects.interquartile_interval([[1.0, 1.0], [3.0, 3.0]]) == (2.0, 2.0, 2.0)
  wide = effects.interquartile_interval([np.concatenate([values, values + 10])])
  narrow = effects.interquartile_interval([values, values + 10])
  assert narrow[2] - narrow[1] < wide[2] - wide[1]
  assert math.isnan(effects.interquartile_interval([[1.0]])[1])


@pytest.mark.parametrize(
  ('differences', 'noise', 'claim', 'found'),
  [
    ([5.0, 6, 5, 4, 6], 1, 1, 'holds'),
    ([5.0, 6, 5, 4, 6], 1, -1, 'reversed'),
    ([-5.0, -6, -5, -4, -6], 1, 1, 'reversed'),
    ([-5.0, -6, -5, -4, -6], 1, -1, 'holds'),
    ([5.0, 6, 5, 4, 6], 3, 1, 'undecided'),  # smaller than twice the noise
    ([0.3, -0.2, 0.1, 0.2, -0.4], 1, 1, 'no effect at this size'),
    ([9.0, -1, 8, 1, -2], 1, 1, 'undecided'),
    ([5.0, 5, 5, 4.5, -0.1, -0.1, 5, 5, -0.2, 5], 0.1, 1, 'undecided'),  # signs of 7 in 10
    ([5.0], 0.1, 1, 'undecided'),
  ],
)
def test_verdicts(differences, noise, claim, found):
  effect = effects.paired(differences, np.zeros(len(differences)))
  assert effects.verdict(effect, noise, claim=claim) == found


def test_what_can_be_seen_is_the_wider_of_interval_and_noise():
  effect = effects.paired([1.0, 3.0], [0.0, 0.0])
  assert effects.detectable(effect, 0.1) == effect.half_width > 0.2
  assert effects.detectable(effect, 50) == 100
  assert effects.spread(effects.paired([3.0, -4.0], [0.0, 0.0])) == pytest.approx(12.5**0.5)


# -- records


def record(arm, seed, end, reward=None, **more):
  reward = reward or [0.3, 0.3 + end / 2]
  evaluations = [
    {'iteration': i, 'samples': 50 * i, 'pass@1': p, 'pass@2': p + 0.1, 'pass@16': p + 0.6}
    for i, p in ((0, 0.25), (2, end))
  ]
  curves = dict(tokens=[9, 9], length=[3.0, 3.1], entropy=[1.0, 0.9], zero_variance=[0.2, 0.4])
  return dict(
    arm=arm,
    seed=seed,
    engine='scanned',
    samples=[50, 100],
    reward=reward,
    activity={'policy/clip_high': 0.1 * (arm != 'still')},
    evaluations=evaluations,
    start=evaluations[0],
    end=evaluations[-1],
    seconds=9.0,
    compile_seconds=1.0,
    **{**curves, **more},
  )


def records():
  ends = {
    'base': (0.40, 0.42, 0.44, 0.40),
    'A/A': (0.41, 0.41, 0.44, 0.40),
    'better': (0.52, 0.54, 0.52, 0.48),
    'still': (0.40, 0.42, 0.44, 0.40),
  }
  return {arm: [record(arm, i, end) for i, end in enumerate(x)] for arm, x in ends.items()}


def test_gates():
  found = records()
  ours = effects.gates(found['better'], found['base'])
  assert list(ours) == list(effects.GATES)
  assert list(ours.values()) == [(4, 4)] * 5
  for r in found['base'][:1]:
    r['start'] = {'pass@1': 0.31}
  found['better'][1]['start'] = {'pass@1': 0.6}
  found['better'][2]['zero_variance'] = [0.6, 0.5]
  ours = effects.gates(found['better'], found['base'], ceiling=0.56)
  assert list(ours.values()) == [(3, 4), None, (3, 4), (3, 4), (3, 4)]
  asked = effects.gates(found['better'], found['base'], about_reward=False)
  assert list(asked) == [gate for gate in effects.GATES if gate != effects.GAINS]
  found['base'][3]['start'] = {'pass@1': 0.1}  # of either arm
  assert effects.gates(found['better'], found['base'])[effects.GATES[0]] == (2, 4)


def test_the_programs_of_the_last_run_are_kept():
  first, second = object(), object()
  assert runs.kept('update', 'a', first) is first
  assert runs.kept('update', 'a', second) is first
  assert runs.kept('update', 'b', second) is second
  assert runs.kept('update', 'a', second) is second, 'of one arm at a time'


def test_a_claim_that_is_not_about_reward_asks_for_no_gain():
  found = records()
  assert effects.GAINS in report.Comparison(found, 'auc').gates('better')
  entropy = report.Comparison(found, 'auc', about_reward=False)
  assert effects.GAINS not in entropy.gates('better')
  row = next(x for x in report.gates_table(entropy) if x.startswith('| better'))
  assert 'does not apply' in row


def test_the_report(tmp_path):
  found = records()
  known = report.Comparison(found, 'auc')
  assert known.verdict('better', 'auc') == known.verdict('better', 'pass@1') == 'holds'
  assert known.verdict('still', 'auc') == 'not exercised'  # the very curves of the baseline
  found['still'][0]['entropy'] = [1.0, 0.8]
  assert known.verdict('still', 'auc') == 'no effect at this size'
  found['still'][0]['reward'] = [0.3, 0.4999]
  assert known.verdict('still', 'auc') == 'no effect at this size'
  watched = report.Comparison(found, 'auc', mechanisms={'still': 'policy/clip_high'})
  assert watched.verdict('still', 'auc') == 'not exercised'
  assert report.Comparison(found, 'pass@1', claims={'better': -1}).verdict(
    'better', 'pass@1'
  ) == 'reversed'  # fmt: skip
  with pytest.raises(ValueError, match='--primary=pass@3: there are auc, '):
    report.Comparison(found, 'pass@3')

  text = report.markdown(known)
  assert '| better | 43.0 [' in text and '**+2.5** [+1.6, +3.4] | +3.0, +3.0, +2.0, +2.0' in text
  assert '| holds | 100 | 18 | 8 |' in text and '| A/A |' in text
  bold = [row.split(' | ')[0] for row in report.primary_table(known) if '**' in row]
  assert bold == ['| better']  # what holds, and nothing else
  assert '| better | policy/clip_high 0.1 |' in text and '| still | policy/clip_high 0 |' in text
  assert '| base, start |' in text and '| better − baseline |' in text
  found['better'][1]['start'] = {**found['better'][1]['start'], 'pass@1': 0.7}
  assert '| better | **failed** (3/4 pass) | passed |' in report.markdown(known)

  report.write_csv(tmp_path / 'results.csv', known)
  rows = list(csv.DictReader((tmp_path / 'results.csv').read_text().splitlines()))
  assert len(rows) == 16 and float(rows[8]['auc']) == pytest.approx(0.3 + 0.52 / 4)
  plots.plot(tmp_path / 'curves.png', known)
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_held_out_areas_end_at_equal_samples():
  record = {'evaluations': [{'samples': 0, 'pass@1': 0.2}, {'samples': 200, 'pass@1': 0.6}]}
  assert report.held_out_area(record, 200) == pytest.approx(0.4)
  assert report.held_out_area(record, 100) == pytest.approx(0.3)
  more = {**record, 'samples': [100, 200], 'reward': [0.2, 0.6], 'end': {}}
  fewer = {**more, 'samples': [50, 100]}
  found = report.quantities([{**r, 'end': {}} for r in (more, fewer)])
  assert found['auc held-out'][0](more) == pytest.approx(0.3)


def drawn(figure):
  """(arms on the forest from the bottom, their means as drawn, {panel: number of its lines})."""
  axis, *beside = figure.axes
  means = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() == 'D'}
  names = [label.get_text() for label in axis.get_yticklabels()]
  return names, means, {a.get_title(loc='left'): len(a.lines) for a in beside}


def test_many_arms_are_a_forest_of_differences(tmp_path):
  ends = {f'arm {i}': np.array([0.40, 0.42, 0.44, 0.40]) + i / 100 for i in range(-3, 4)}
  more = {arm: [record(arm, i, end) for i, end in enumerate(x)] for arm, x in ends.items()}
  known = report.Comparison({**records(), **more}, 'auc')
  figure = plots.of_many(known)
  names, means, panels = drawn(figure)
  assert names[:3] == ['arm -3', 'arm -2', 'arm -1'] and names[-2:] == ['arm 3', 'better']
  assert sorted(names) == sorted({'better', 'still', *ends})
  # Of (A/A, baseline): differences of .01, -.01, 0, 0 in the end and half as much in the area.
  assert known.noise('auc') == pytest.approx(0.0025 / 2**0.5)
  band = figure.axes[0].patches[0]
  sides = band.get_patch_transform().transform(band.get_path().vertices)[:, 0]
  np.testing.assert_allclose([sides.min(), sides.max()], [-(0.125**0.5), 0.125**0.5], rtol=1e-6)
  for place, name in enumerate(names):
    effect = known.effect(name, 'auc')
    assert means[place].get_xdata()[0] == pytest.approx(100 * effect.mean)
    told = known.verdict(name, 'auc') in ('holds', 'reversed')
    assert (means[place].get_markerfacecolor() != 'white') == told
  assert [t.get_text().strip() for t in figure.axes[0].texts] == ['not exercised'] * 2
  # Curves of the baseline, of A/A and of the most different arms alone.
  assert panels == dict.fromkeys(plots.BESIDE, 2 + plots.SHOWN)
  plots.plot(tmp_path / 'curves.png', known)
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_an_effect_that_would_squash_the_others_is_written():
  ends = {f'arm {i}': 0.40 + i / 1000 for i in range(9)} | {'lost': -0.4}
  found = {'base': [record('base', i, 0.4) for i in range(2)]}
  found['A/A'] = [record('A/A', i, 0.402) for i in range(2)]
  found |= {arm: [record(arm, i, end) for i in range(2)] for arm, end in ends.items()}
  figure = plots.of_many(report.Comparison(found, 'auc'))
  names, means, _ = drawn(figure)
  assert names[0] == 'lost' and list(means) == list(range(1, 10))
  texts = [text.get_text() for text in figure.axes[0].texts]
  assert '◂ −20.0 [−20.0, −20.0]' in texts
  left, right = figure.axes[0].get_xlim()
  assert -0.5 < left < 0 < right < 0.5


def test_areas_are_taken_at_equal_samples():
  long = record('long', 0, 0.4, reward=[0.3, 0.4])
  long['samples'] = [100, 200]
  found = {'base': [record('base', 0, 0.4)], 'A/A': [long], 'long': [long]}
  known = report.Comparison(found, 'auc')
  assert known.values('long', 'auc') == [pytest.approx(0.3)]


# -- arms

CONFIG = """
import ml_collections
import tiny_runs

def get_config():
  task = dict(name='tasks.sorting', length=1, letters='abcd', num_train=64, num_test=2,
              test_fraction=0.5)
  rl = dict(iterations=3, packed=False, max_new_tokens=2, prompts=8, samples=8, row_length=8)
  sft = dict(iterations=2)
  return ml_collections.ConfigDict(tiny_runs.tiny_config(task=task, rl=rl, sft=sft))
"""


@pytest.fixture
def tiny(tmp_path):
  path = tmp_path / 'tiny.py'
  path.write_text(CONFIG)
  return str(path)


def test_arms(tiny):
  chosen = arms.make_arms(
    [f'high={tiny}', f'more={tiny}'],
    tiny,
    ['--config.rl.iterations=4'],
    dict(num_prompts=2),
    [('high', '--config.rl.loss.clip_high=0.3'), ('more', '--config.sft.iterations=3')],
  )
  assert [arm.name for arm in chosen] == ['tiny', 'A/A', 'high', 'more']
  base, again, high, more = chosen
  assert {arm.settings['rl']['iterations'] for arm in chosen} == {4}
  assert high.settings['rl']['loss']['clip_high'] == 0.3 != base.settings['rl']['loss']['clip_high']
  assert base.start() == again.start() == high.start() != more.start()
  assert base.start()['stages'] == ('sft',) and base.start()['evaluation']['num_prompts'] == 2
  assert len({arm.digest for arm in chosen}) == 4
  with pytest.raises(config.ConfigError, match='two arms are called tiny'):
    arms.make_arms([tiny], tiny, [], {})
  with pytest.raises(config.ConfigError, match='the arms are tiny, A/A'):
    arms.make_arms([], tiny, [], {}, [('hgih', '--config.rl.iterations=4')])


@pytest.mark.parametrize(
  'flags',
  ['--seed=1', 'a b --claim=a:sideways', '--set=nothing'],
)
def test_flags(flags, capsys):
  with pytest.raises(SystemExit):
    compare.parse(['--baseline=quickstart', '--out=x', *flags.split()])
  assert 'error' in capsys.readouterr().err


@pytest.mark.slow
def test_a_whole_comparison(tiny, tmp_path, monkeypatch, capsys):
  """Programs and the loop, restarted."""
  out = tmp_path / 'out'
  command = [
    f'fast={tiny}', f'host={tiny}', f'--baseline={tiny}', '--seeds=0,1', f'--out={out}',
    '--prompts=2', '--samples=5', '--every=2', '--set=host:--config.rl.packed=True',
    '--set=fast:--config.rl.optimizer.learning_rate=1e-2',
  ]  # fmt: skip
  compiled = []
  execute = runs.scanned.Programs.execute

  def executed(self, *args, **kwargs):
    found = execute(self, *args, **kwargs)
    compiled.append(len(self.compiled))
    return found

  monkeypatch.setattr(runs.scanned.Programs, 'execute', executed)
  with small_machine(tmp_path / 'programs'):
    compare.main(command)
    said = capsys.readouterr().out
    assert compiled == [1] * 6  # three arms, two seeds, one program
    lines = [json.loads(line) for line in (out / 'results.jsonl').read_text().splitlines()]
    assert [r['engine'] for r in lines] == ['scanned'] * 6 + ['loop'] * 2
    assert len(list((out / 'starts').glob('*-s*/summary.json'))) == 2  # shared by all arms
    assert 'host s0 runs in the loop: rows hold several samples' in said
    by = {(r['arm'], r['seed']): r for r in lines}
    for seed in (0, 1):
      base, again, fast, host = (by[arm, seed] for arm in ('tiny', 'A/A', 'fast', 'host'))
      assert base['start'] == again['start'] == fast['start']
      assert base['start'].items() <= host['start'].items()
      assert base['reward'][0] == fast['reward'][0] == pytest.approx(host['reward'][0], abs=1e-5)
      assert base['tokens'] == host['tokens'] != again['tokens']
      np.testing.assert_allclose(base['reward'], host['reward'], atol=1e-5)
      assert [e['iteration'] for e in base['evaluations']] == [0, 2, 3]
      assert [e['samples'] for e in host['evaluations']] == [0, 128, 192]

    # What is done is passed over; a line that is gone is run again, with the same result.
    (out / 'results.jsonl').write_text('\n'.join(json.dumps(r) for r in lines[1:]) + '\n')
    table = (out / 'table.md').read_text()
    prepared = []
    prepare = runs.prepare
    monkeypatch.setattr(
      runs, 'prepare', lambda arm, seed, out: prepared.append((arm.name, seed)) or (
        prepare(arm, seed, out)
      )
    )  # fmt: skip
    compare.main(command)
  assert prepared == [('tiny', 0)]
  again = json.loads((out / 'results.jsonl').read_text().splitlines()[-1])
  times = ('seconds', 'compile_seconds')
  assert {k: v for k, v in again.items() if k not in times} == {
    k: v for k, v in lines[0].items() if k not in times
  }
  assert table.splitlines()[0] == (out / 'table.md').read_text().splitlines()[0]
  assert jax.default_backend() == 'cpu'


@pytest.mark.slow
def test_an_arm_begins_with_the_reward_model_that_its_start_has_trained(tmp_path):
  pairs = dict(iterations=2, prompts=4, max_length=8, **ROWS)
  scored = dict(model=dict(name='shaping.model_score'))
  settings = tiny_config(
    stages=('sft', 'reward_model', 'rl'), sft=dict(iterations=1), reward_model=pairs,
    rl=dict(reward_shaping=scored),
  )  # fmt: skip
  arm = arms.Arm('scored', config.resolve(settings).to_dict())
  with small_machine(tmp_path / 'programs'):
    job = runs.prepare(arm, 0, tmp_path)
  [workdir] = (tmp_path / 'starts').glob('*-s0')
  trained = jax.tree.leaves(checkpoint.load_params(workdir, 'reward'))
  for role in (job.params['reward'], job.frozen['reward']):
    for a, b in zip(jax.tree.leaves(role), trained, strict=True):
      np.testing.assert_array_equal(a, b)
  job.world.close()
