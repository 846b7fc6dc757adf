"""The speed experiment: turns, statistics, counted operations, the naive program, tables, peers."""

import dataclasses
import importlib
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / 'experiments'))


def module(name):
  return importlib.import_module(f'speed.{name}')


hlo, long_tail, naive, ours, peer = map(module, ('hlo', 'long_tail', 'naive', 'ours', 'peer'))
plots, report, roofline, run = map(module, ('plots', 'report', 'roofline', 'run'))
scaling, shapes, step, timing, traces = map(
  module, ('scaling', 'shapes', 'step', 'timing', 'traces')
)
WORK = shapes.Work(shapes.TINY, prompts=2, samples=2, prompt=4, completion=4)


def silent(*_, **__):
  pass


@pytest.fixture(autouse=True)
def ranks_may_differ():
  """The naive program is plain jax, without rljax's rule."""
  with jax.numpy_rank_promotion('allow'):
    yield


# -- turns and statistics


def test_contestants_take_turns_and_the_first_rounds_do_not_count():
  order, costs = [], {'a': iter([9.0, 1.0, 3.0, 2.0]), 'b': iter([8.0, 4.0, 6.0, 3.0])}

  def contestant(name):
    def go():
      order.append(name)
      return {'seconds': next(costs[name])}

    return go

  arms = {name: contestant(name) for name in 'ab'}
  found = timing.interleave(arms, rounds=3, warm_up=1, say=silent)
  assert ''.join(order) == 'abababab'
  assert found['a']['first'] == 9.0 and timing.values(found['a']) == [1.0, 3.0, 2.0]
  assert timing.median(found['b']) == 4.0 and timing.median(found['b'], 'generation') is None
  # By rounds 4, 2 and 1.5; the ratio of the medians is 2, too, that of the means 2.17.
  assert timing.paired_ratio(found['b'], found['a']) == 2.0
  assert timing.paired_ratio(found['a'], found['b']) == 0.5
  assert timing.spread([3.0, 1.0, 2.5]) == '2.50 (1.00 … 3.00)'


def test_a_run_that_says_no_seconds_is_timed():
  assert 0 <= timing.timed(lambda: {'tokens': 3})['seconds'] < 7
  assert timing.timed(lambda: {'seconds': 7.0})['seconds'] == 7.0


def test_forced_lengths():
  lengths = long_tail.geometric(256)
  assert lengths.min() >= 1 and lengths.max() <= long_tail.LIMIT
  assert np.array_equal(lengths, long_tail.geometric(256))
  assert abs(long_tail.geometric(20000).mean() / long_tail.MEAN - 1) < 0.03
  for name in scaling.SPREADS:
    spread = scaling.lengths(name, 4096)
    assert abs(spread.mean() / scaling.MEAN - 1) < 0.05 and spread.max() <= scaling.LIMIT


def test_the_planned_schedule_by_hand():
  # 3 and 1 begin; after two steps 2 enters beside the last token of 3, and both end in two steps.
  found = long_tail.simulate(np.array([3, 1, 2]), slots=2, window=2)
  assert found == {'all': 8, 'empty': 4, 'busy': 3}
  # Steps one by one: 1 is followed by 2, so that nobody waits and nothing is idle.
  found = long_tail.simulate(np.array([3, 1, 2]), slots=2, window=1)
  assert found == {'all': 6, 'empty': 2, 'busy': 2}
  # Of four slots two are left behind when two are free: 4 · 2, then 2 · 6 slot-steps, not 4 · 8.
  lengths = np.array([8, 8, 2, 1])
  assert long_tail.simulate(lengths, slots=4, window=1, least=2)['all'] == 4 * 2 + 2 * 6
  assert long_tail.simulate(lengths, slots=4, window=1, drains=0)['all'] == 4 * 8
  # The longer the window, the more waits.
  lengths = long_tail.geometric(256)
  shares = [lengths.sum() / long_tail.simulate(lengths, 64, w)['all'] for w in (1, 8, 64)]
  assert 1 > shares[0] > shares[1] > shares[2] > 0.4


# -- what is counted


@pytest.mark.parametrize('shape', [shapes.COMPARISON, shapes.FOUR_OF_7B])
def test_parameters_in_products_are_those_of_the_decoder(shape):
  policy = ours.make_policy(shape, ours.Settings())
  sizes = jax.eval_shape(policy.init, jax.random.key(0))
  named = {path[-1].key: x.size for path, x in jax.tree.leaves_with_path(sizes)}
  head = named['embedding' if shape.tie_embeddings else 'head']
  assert head + sum(size for name, size in named.items() if name[0] == 'w') == shape.products
  if shape is shapes.COMPARISON:
    assert sum(named.values()) == 4_983_552


def test_counted_operations_are_those_of_the_compiled_naive_program():
  shape = dataclasses.replace(shapes.TINY, num_layers=2)
  params = jax.eval_shape(ours.make_policy(shape, ours.Settings()).init, jax.random.key(0))
  rows, length = 3, 8

  def hidden(params, tokens):
    slots = jnp.arange(length)
    mask = slots[None, :] <= slots[:, None]
    attend = lambda _, q, k, v: naive._attend(q, k, v, mask)  # noqa: E731
    return naive._layers(shape, params, tokens, slots, attend)

  tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)
  text = jax.jit(hidden).lower(params, tokens).compile().as_text()
  made = [p for products in hlo.products(text).values() for p in products]
  body = shape.num_layers * shape.layer_products
  attention = 4 * shape.num_layers * shape.num_heads * shape.head_dim * length**2
  assert sum(p.flops for p in made) == rows * (2 * body * length + attention)
  # Causal attention needs half of it.
  assert roofline.prefill_flops(shape, [length]) == 2 * body * length + attention / 2


def test_counted_operations_and_bytes_by_hand():
  shape = dataclasses.replace(shapes.TINY, dtype='bfloat16')  # V 64, D 16, H 2, KV 1, d 8, F 32
  layer = 16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32
  products = layer + 64 * 16
  assert (shape.layer_products, shape.products, shape.cache_bytes) == (layer, products, 32)
  assert roofline.decode_bytes(shape, rows=5, context=10) == 2 * products + 5 * 10 * 32
  assert roofline.decode_flops(shape, rows=5, context=10) == 5 * (2 * products + 4 * 16 * 10)
  # Three passes; a sample of 4 tokens sees 16 / 2 pairs, at 4 · H · d operations each.
  expected = 6 * products * 7 + 3 * 4 * 16 * (4**2 + 3**2) / 2
  assert roofline.update_flops(shape, [4, 3]) == expected


HLO = """
%fused (p.0: f32[4,2,8,16], p.1: f32[4,2,32,16]) -> f32[4,2,8,32] {
  %p.0 = f32[4,2,8,16]{3,2,1,0} parameter(0)
  %p.1 = f32[4,2,32,16]{3,2,1,0} parameter(1)
  ROOT %dot.1 = f32[4,2,8,32]{3,2,1,0} dot(%p.0, %p.1), lhs_batch_dims={0,1}, \
lhs_contracting_dims={3}, rhs_batch_dims={0,1}, rhs_contracting_dims={3}
}

ENTRY %main (a: f32[64,256], b: f32[256,128]) -> f32[64,128] {
  %a = f32[64,256]{1,0} parameter(0)
  %b = f32[256,128]{1,0} parameter(1)
  %fusion.7 = f32[4,2,8,32]{3,2,1,0} fusion(%x, %y), kind=kCustom, calls=%fused
  ROOT %dot.2 = f32[64,128]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
"""


def test_products_of_a_program_and_their_time():
  batched, plain = hlo.Product(8, 8, 16, 32), hlo.Product(1, 64, 256, 128)
  assert hlo.products(HLO) == {'fusion.7': [batched], 'dot.2': [plain]}
  assert (str(batched), str(plain)) == ('8 · (8 × 16 × 32)', '64 × 256 × 128')
  assert plain.flops == 2 * 64 * 256 * 128
  seen = {'fusion.7': (10, 0.5), 'copy.1': (3, 0.25), 'while.3': (1, 9.0)}
  assert traces.by_product(HLO, seen) == {batched: {'calls': 10, 'seconds': 0.5}}
  assert [x['name'] for x in traces.longest(seen, without=hlo.products(HLO))] == ['copy.1']


# -- rljax and the naive program


@pytest.mark.thorough
def test_one_step_has_the_naive_gradient_and_the_right_counts():
  mine, checks = ours.Step('rljax', WORK, ours.Settings(rows=2)), []
  yardstick = step.NaiveStep(WORK, micro=2)
  step.norms(checks, 'rljax', mine, yardstick)
  assert [c['holds'] for c in checks] == [True]
  arms = timing.interleave({'rljax': mine, 'naive': yardstick}, rounds=1, say=silent)
  step.counts(checks, WORK, arms)
  assert all(c['holds'] for c in checks) and len(checks) == 5
  for arm in arms.values():
    assert timing.values(arm, 'tokens') == [16] and timing.values(arm, 'trained_tokens') == [32]

  # It would be seen if either were wrong.
  wrong, params = [], yardstick.params
  other = mine.rollout.replace(tokens=mine.rollout.tokens[:, ::-1])
  args = (other.tokens, other.action_mask, ours.rewards(mine.rollout))
  norm = float(yardstick.update(params, yardstick.opt_state, *args)[2])
  assert abs(norm / arms['rljax']['runs'][-1]['grad_norm'] - 1) > step.NORM
  arms['naive']['runs'][-1]['tokens'] -= 1
  step.counts(wrong, WORK, arms)
  assert [c['holds'] for c in wrong] == [True, True, False, True]


def test_the_naive_loop_draws_from_what_it_scores():
  params, prompts = ours.make_params(WORK.shape), jnp.asarray(WORK.prompt_ids())

  def draw(limit):
    return naive.generate(WORK.shape, params, prompts, jax.random.key(1), limit, length=8)

  drawn = jax.jit(draw)(3)
  assert int(drawn.steps) == 3 and not np.any(drawn.tokens[:, 3:])
  tokens = jnp.concatenate([prompts, drawn.tokens[:, :3]], axis=1)
  chosen, best = naive.token_logprobs(WORK.shape, params, tokens)
  np.testing.assert_allclose(chosen[:, 4:], drawn.logprobs[:, :3], atol=1e-5)
  assert np.all(best >= chosen) and np.any(best > chosen)


# -- peers


PEER = """
from serve import Channel, serve
channel = Channel()
print('a library says something')
channel.say(parameters=channel.work['prompt'], versions={'it': '1'})
left = channel.work['runs']
def run():
  global left
  left -= 1
  if left < 0:
    raise RuntimeError('it has had enough')
  return {'tokens': left}
serve(channel, run)
"""


def test_a_peer_answers_line_by_line_and_says_why_it_ended(tmp_path, monkeypatch):
  shutil.copy(peer.PROGRAMS / 'serve.py', tmp_path)
  (tmp_path / 'fake.py').write_text(PEER)
  monkeypatch.setattr(peer, 'PROGRAMS', tmp_path)
  log = tmp_path / 'logs' / 'fake.log'
  other = peer.Peer(sys.executable, 'fake', WORK, log, runs=2)
  assert other.about == {'parameters': 4, 'versions': {'it': '1'}}
  found = [other(), other()]
  assert [x['tokens'] for x in found] == [1, 0] and found[0]['seconds'] >= 0
  with pytest.raises(peer.PeerError, match='it has had enough'):
    other()
  other.close()
  assert 'a library says something' in log.read_text()


# -- tables and plots


def arm(*seconds, **more):
  return {'first': 9.0, 'runs': [{'seconds': s, 'generation': s / 2, **more} for s in seconds]}


def results():
  """What run.py would write, of two parts of the suite cpu."""
  machine = {'date': '2026-11-01', 'cpu': 'a CPU', 'cores': 2, 'load': 0.1, 'devices': ['cpu cpu'],
             'python': '3', 'versions': {'jax': '0'}}  # fmt: skip
  common = {'machine': machine, 'minutes': 1.0, 'rounds': 3, 'about': {}}
  checks = [{'what': 'tokens', 'holds': True, 'said': '16'},
            {'what': 'norm', 'holds': False, 'said': '1 and 2'}]  # fmt: skip
  arms = {'rljax': arm(1.0, 1.0, 1.0, tokens=16), 'TRL, micro-batch 8': arm(2.0, 3.0, 2.5)}
  curve = {f'window {w}': arm(1.0 / w, tokens=16, useful=12, all=16) for w in (1, 2)}
  tail = {'rljax, window 2': arm(0.5, tokens=16, useful=12, all=16, busy=9, empty=10),
          'lockstep, batches of 64': arm(2.0, tokens=16, useful=12, all=48)}  # fmt: skip
  lengths = {'mean': 4.0, 'median': 3.0, 'longest': 9, 'total': 16, 'forced_by': 'limits'}
  parts = {
    'step': {**common, 'arms': arms, 'micro_batch': dict.fromkeys(arms, '8 samples'),
             'checks': checks},
    'long_tail': {**common, 'arms': tail, 'curve': curve, 'lengths': lengths, 'checks': checks[:1],
                  'cache_mib': dict.fromkeys(tail, 72.0)},
  }  # fmt: skip
  return {'suite': 'cpu', 'parts': parts}


def test_the_tables_say_what_was_measured_and_what_was_not(tmp_path):
  assert plots.draw(tmp_path, results()) == ['step', 'long_tail']
  assert (tmp_path / 'step.png').stat().st_size > 5000
  text = report.markdown(results(), ['step'])
  rows = {line.split(' | ')[0].strip('| '): line for line in text.splitlines() if '|' in line}
  assert '| 8 samples | 1.00 (1.00 … 1.00) | 0.50 | 0.50 |' in rows['rljax']
  assert '| 2.50 (2.00 … 3.00) | 1.25 | 1.25 | 2.50 | 2.50 | 9.0 |' in rows['TRL, micro-batch 8']
  assert '| 0.50 (0.50 … 0.50) | 32 |  | 75 % | 90 % | 72 |' in rows['rljax, window 2']
  assert '| 4.00 | 25 % | not measured | 72 |' in rows['lockstep, batches of 64']
  assert '**Does not hold:** norm (1 and 2)' in text and '![a whole grpo step](step.png)' in text
  assert text.count('not measured') == 7  # four parts, and how busy the other slots were
  for part in report.SUITES['cpu'].TITLES:
    assert f'python experiments/speed/run.py --suite=cpu --parts={part}' in text
  assert report.markdown({'suite': 'gpu', 'parts': {}}).count('not measured') == 3


def test_the_readme_gets_the_tables_and_nothing_else(tmp_path, monkeypatch):
  folder = tmp_path / 'speed'
  folder.mkdir()
  readme = (run.HERE / 'README.md').read_text()
  (folder / 'README.md').write_text(readme)
  out = tmp_path / 'out'
  out.mkdir()
  monkeypatch.setattr(run, 'HERE', folder)
  run.write(out, results())
  run.publish(out, 'cpu')
  text = (folder / 'README.md').read_text()
  begin, end = report.markers('cpu')
  inside = text.split(begin)[1].split(end)[0]
  assert inside.strip() == (out / 'table.md').read_text().strip()
  assert text.split(begin)[0] == readme.split(begin)[0]
  assert text.split(end)[1] == readme.split(end)[1]
  assert {path.name for path in folder.iterdir()} == {
    'README.md', 'cpu.json', 'step.png', 'long_tail.png'
  }  # fmt: skip
  assert run.load(out / 'results.json', 'cpu') == results()


def test_the_command_line():
  assert run.parse([]).parts == list(run.SUITES['cpu'])
  assert run.parse(['--suite=gpu', '--parts=update']).parts == ['update']
  with pytest.raises(SystemExit):
    run.parse(['--suite=gpu', '--parts=step'])
  for suite, parts in run.SUITES.items():
    assert tuple(report.SUITES[suite].TITLES) == parts == tuple(report.SUITES[suite].PARTS)
