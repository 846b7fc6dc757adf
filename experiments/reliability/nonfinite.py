"""NaN and infinity in a loss, a gradient, a batch, a reward: what the guard makes of them."""

import random

import poison
import trial
from faults import row

from rljax.guard import batches
from rljax.metrics import read_metrics

STOPPED = 1  # the exit code of a run that stops itself
STEPS = 2  # of the optimizer in an iteration of `small.py`
SKIP, STOP = (f'--config.guard.nonfinite={policy}' for policy in ('skip', 'stop'))
WHICH = ('NaN', 'infinity')


def updates(out, whole, count):
  """Into each place, once and at any step; skipped, repeated, stopped and continued."""
  del whole
  chance = random.Random(0)
  places = [(where, scale) for where in ('gradient', 'loss') for scale in (0, 1)] + [('batch', 0)]
  for number in range(-(-count // len(places)) * len(places)):
    where, scale = places[number % len(places)]
    step = chance.randrange(2 * STEPS, 8 * STEPS)
    name, how = f'{where}-{number}', _injected(where, scale, step)
    what = f'{WHICH[scale]} in a {where}'
    yield _skipped(out / name, what, step // STEPS + 1, how)
    yield _stopped(out / name, out / f'{name}-stopped', what, how)
  yield _in_a_row(out / 'row', _injected('loss', 0, 3 * STEPS, until=99))


def _injected(where, scale, step, until=None):
  """Arguments of `trial.run`."""
  if where == 'batch':
    return dict(prepare=poison.batches(step // STEPS), flags=())
  hyper = dict(name=f'poison.{where}', at=step, until=until or step, scale=scale)
  return dict(prepare=None, flags=tuple(f'--config.rl.loss.{k}={v}' for k, v in hyper.items()))


def _skipped(workdir, what, iteration, how):
  """The run goes on to its end; its batch is there and repeats it."""
  code, seconds, _ = trial.run(workdir, **how)
  if code:
    return row(f'{what}: skipped', code, 0)
  hit = [r['iteration'] for r in read_metrics(workdir) if r.get('update/nonfinite')]
  wrong = [] if hit == [iteration] else [f'not finite in {hit}, not in {[iteration]}']
  name = f'rl-{iteration:06}'
  if batches.saved(workdir) != [name]:
    return row(f'{what}: skipped', code, 0, wrong=[*wrong, 'its batch is not saved'])
  argv = ['replay', str(workdir), f'--batch={batches.FOLDER}/{name}']
  code = trial.wait(trial.fork(argv, f'{workdir}.log'))
  return row(f'{what}: skipped, and its batch repeats it', code, 0, seconds, wrong)


def _stopped(skipped, workdir, what, how):
  """The run ends itself, as often as it is started; and goes on where that is asked for."""
  again = dict(how, flags=(*how['flags'], STOP))
  for _ in range(2):
    code, _, _ = trial.run(workdir, **again)
    if code != STOPPED:
      return row(f'{what}: stopped', code, STOPPED)
  wrong = trial.compare(skipped, workdir, ended=False)
  flags = (*how['flags'], SKIP, '--accept_config_change=guard.nonfinite')
  code, seconds, _ = trial.run(workdir, **dict(how, flags=flags))
  wrong += trial.compare(skipped, workdir) if code == 0 else [f'exit code {code} when it goes on']
  return row(f'{what}: stopped, and goes on when told to', STOPPED, STOPPED, seconds, wrong)


def _in_a_row(workdir, how):
  """Steps that are never finite again end the run whatever the policy is."""
  code, _, _ = trial.run(workdir, **dict(how, flags=(*how['flags'], '--config.guard.skips=3')))
  hit = [r['iteration'] for r in read_metrics(workdir) if r.get('update/nonfinite')]
  wrong = [] if hit == [4, 5, 6] else [f'not finite in {hit}, not in [4, 5, 6]']
  return row('3 in a row: stopped', code, STOPPED, wrong=wrong)


def scores(out, whole, count):
  """A reward that is no finite number: as one that raises."""
  del whole
  for number in range(-(-count // len(WHICH))):
    flags = ('--config.rl.iterations=4', f'--seed={number}')
    reference = out / f'raising-{number}'
    for name in ('raising', 'unknown', 'unbounded'):
      workdir = out / f'{name}-{number}'
      own = (*flags, f'--config.rewards.reward.name=watched.{name}')
      code, _, _ = trial.run(workdir, flags=own)
      if name == 'raising':
        assert code == 0, f'the run itself does not work: {workdir}.log'
        continue
      found = sum(r.get('reward/errors', 0) for r in read_metrics(workdir))
      wrong = trial.compare(reference, workdir) if code == 0 else []
      told = f'{WHICH[name == "unbounded"]} in a reward: counted in reward/errors'
      yield row(told, code, 0, wrong=[*wrong, *([] if found else ['not counted'])])


NAMES = {
  'updates': 'NaN, infinity in a loss, gradient; NaN in a batch',
  'scores': 'NaN, infinity as a reward',
}
FAULTS = {f.__name__: f for f in (updates, scores)}
