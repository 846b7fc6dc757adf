"""The runs of a comparison: shared starts, one program where that is possible, else the loop."""

import contextlib
import copy
import dataclasses
import itertools
import time

import jax
import numpy as np

from comparison.arms import OTHER_NOISE, digest
from rljax import assembly, binding, checkpoint, config, files, metrics, scanned
from rljax.stages import make_stage
from rljax.train import train

RESULTS = 'results.jsonl'
MOST_PROGRAMS = 16  # kept; each is hundreds of mappings of memory, of which Linux allows 65,530
# Of an iteration; everything else that the update tells is the activity of some mechanism.
CURVES = {
  'reward': 'reward/mean',
  'tokens': 'rollout/tokens',
  'length': 'rollout/length_mean',
  'entropy': 'policy/entropy',
  'zero_variance': 'group/zero_variance',
}
NO_ACTIVITY = ('reward/', 'group/', 'rollout/', 'time/', 'memory/', 'update/', 'value/',
               'mismatch/', 'policy/loss', 'policy/entropy')  # fmt: skip


@dataclasses.dataclass
class Job:
  """A run that is to be done: of one arm with one seed; its stage is ready to begin."""

  arm: object
  seed: int
  world: assembly.World
  stage: object
  params: dict  # of all roles, as the stages before have left them
  state: object
  frozen: dict

  def record(self, engine, told, evaluations, points, seconds):
    """The line of `results.jsonl`.

    Args:
      engine: 'scanned' or 'loop'.
      told: metric name -> [iterations].
      evaluations: metrics at each of the `points` (iterations done).
      seconds: of the run, and of compiling.
    """
    node, iterations = self.stage.node, self.stage.iterations
    each = np.full(iterations, node.prompts * node.get('samples', 1))
    samples = np.cumsum(told.get('rollout/samples', each))
    curves = {name: told[metric] for name, metric in CURVES.items() if metric in told}
    activity = {name: x for name, x in told.items() if not name.startswith(NO_ACTIVITY)}
    before = [0, *samples.tolist()]
    return {
      'arm': self.arm.name,
      'seed': self.seed,
      'digest': self.arm.digest,
      'engine': engine,
      'samples': samples.tolist(),
      **{name: [float(f'{float(v):.6g}') for v in x] for name, x in curves.items()},
      'activity': {name: float(np.mean(x)) for name, x in activity.items()},
      'evaluations': [
        {'iteration': int(point), 'samples': before[point], **found}
        for point, found in zip(points, evaluations, strict=True)
      ],
      'start': evaluations[0],
      'end': evaluations[-1],
      'seconds': round(seconds[0], 2),
      'compile_seconds': round(seconds[1], 2),
    }


def start_of(arm, seed, out):
  """The work directory of the stages before the last one, run where it has not been; or None."""
  settings = arm.start()
  if settings is None:
    return None
  workdir = out / 'starts' / f'{digest(settings)}-s{seed}'
  if metrics.read_summary(workdir) is None:
    stages = ', '.join(settings['stages'])
    print(f'{stages} for seed {seed}: {workdir}.log', flush=True)
    workdir.parent.mkdir(parents=True, exist_ok=True)
    with open(f'{workdir}.log', 'a') as log, contextlib.redirect_stdout(log):
      train(settings, workdir=str(workdir), seed=seed)
  return workdir


def prepare(arm, seed, out):
  """The job of an arm and a seed.

  A seed fixes start, prompts and noise, so all arms share them; the A/A arm draws other samples, or
  in a stage that draws none takes its data in another order.
  """
  settings, draws, trained = copy.deepcopy(arm.settings), 0, []
  settings['seed'] = seed
  if workdir := start_of(arm, seed, out):
    settings['model']['path'] = str(workdir)
    with checkpoint.Checkpointer(workdir / checkpoint.FOLDER, read_only=True) as saved:
      draws, trained = (saved.host()[name] for name in ('draws', 'trained'))
  world = assembly.assemble(config.resolve(settings))
  world.task = kept('task', digest(settings['task']), world.task)  # with the prompts it has made
  if world.programs['policy'].draft is None:  # which has parameters of its own
    world.programs = kept('sampler', policy_of(settings, world), world.programs)
  params = dict(world.params)
  for role in {*trained} & {*params} - {'policy'}:  # the policy is there by its path
    params[role] = checkpoint.load_params(workdir, role, example=params[role])
  stage = make_stage(arm.stage, world, draws=draws)
  if arm.other_noise and stage.samples:
    stage.generate = dataclasses.replace(stage.generate, seed=seed ^ OTHER_NOISE)
  elif arm.other_noise:
    given = {'prompts': world.task.train, 'seed': seed ^ OTHER_NOISE}
    stage.curriculum = binding.bind(stage.node.curriculum, given)(given)
  frozen = dict(world.frozen)
  if stage.needs_reference:
    frozen['reference'] = jax.tree.map(lambda x: x.copy(), world.params['policy'])
  if 'reward' in stage.objective.frozen_roles:
    frozen['reward'] = params['reward']
  key = jax.random.fold_in(jax.random.key(seed), len(settings['stages']) - 1)
  job = Job(arm, seed, world, stage, params, stage.init(params, key), frozen)
  if hasattr(stage.update, 'lower'):  # else it is no program but bound to this very stage
    stage.update = kept('update', digest(arm.settings), stage.update)
  return job


_kept = {}  # what -> (whose, program): of the last runs, which the next one need not trace again


def kept(what, whose, made):
  """The program of `whose` if the last run had it, else `made`."""
  if _kept.get(what, (None,))[0] != whose:
    _kept[what] = whose, made
  return _kept[what][1]


def policy_of(settings, world):
  """Tells policies apart that are not the same function of parameters and tokens."""
  given = {name: settings[name] for name in ('tokenizer', 'mesh')}
  params = jax.eval_shape(world.policies['policy'].init, jax.random.key(0))
  teachers = [settings[name].get('teacher') for name in settings['stages']]
  return digest({**given, 'model': {**settings['model'], 'path': ''}}, str(params), teachers)


def in_a_loop(job):
  """The record of a job, iteration by iteration."""
  stage, state, frozen = job.stage, job.state, job.frozen
  node = job.world.config.evaluation
  points = scanned.evaluation_points(stage.iterations, node.every)
  told, evaluations, started = [], [], time.perf_counter()

  def evaluate():
    return stage.evaluate({**job.params, **state.params}, frozen)

  with metrics.CompileWatch() as compiled:
    for i in range(stage.iterations):
      if i in points:
        evaluations.append(evaluate() if i else at_start(job, evaluate))
      collected = stage.collect(state, i)
      state, seen = stage.update(state, frozen, collected.batch, stage.hyper(i))
      told.append({**collected.metrics, **stage.rename(jax.device_get(seen))})
      state, reference = stage.renew(state, frozen, i + 1, told[-1])
      frozen |= {} if reference is None else {'reference': reference}
    evaluations.append(evaluate())
  names = [name for name in told[0] if all(name in line for line in told)]
  lines = {name: np.array([line[name] for line in told], float) for name in names}
  rewards = lines.get('reward/mean', np.zeros(1))
  if not np.isfinite(rewards).all():
    raise ValueError(f'{job.arm.name} s{job.seed}: no sample of an iteration has a reward')
  seconds = time.perf_counter() - started
  return job.record('loop', lines, evaluations, points, (seconds, compiled.seconds))


_at_start = {}


def at_start(job, evaluate):
  """The evaluation of a start, which is that of all arms which share it."""
  settings, start = job.arm.settings, job.arm.start()
  if start is None:
    return evaluate()
  told = (settings['evaluation'], settings['rl']['sampler'], type(job.stage).__name__)
  place = digest(start, *told), job.seed
  if place not in _at_start:
    _at_start[place] = evaluate()
  return dict(_at_start[place])


def scan(job):
  """The job as a run of one program."""
  node = job.world.config.evaluation
  held_out = job.world.held_out(0, node.num_prompts)
  return scanned.scanned_run(
    job.stage, job.state, job.frozen, held_out=held_out, samples=node.samples, every=node.every
  )


def as_programs(jobs, runs, programs):
  """The records of jobs whose runs share a program."""
  started = time.perf_counter()
  with metrics.CompileWatch() as compiled:
    outputs = programs.execute(runs)
    jax.block_until_ready([output.state for output in outputs])
  seconds = [x / len(jobs) for x in (time.perf_counter() - started, compiled.seconds)]
  for job, run, found in zip(jobs, runs, outputs):
    evaluations = run.evaluations(found.seen, job.world.config.evaluation.ks)
    yield job.record('scanned', found.metrics, evaluations, run.inputs.ends, seconds)


def run(arms, seeds, out):
  """The records of all arms and seeds: those in `<out>/results.jsonl`, and the others once done.

  Returns:
    {name of the arm: [record of each seed]}.
  """
  path, found = out / RESULTS, {}
  for record in files.read_jsonl(path) if path.exists() else ():
    found[record['arm'], record['digest'], record['seed']] = record
  todo = [(a, s) for a in arms for s in seeds if (a.name, a.digest, s) not in found]
  for record in _records(todo, out):
    files.append_text(path, files.json_lines([record]))
    found[record['arm'], record['digest'], record['seed']] = record
    print(describe(record), flush=True)
  return {arm.name: [found[arm.name, arm.digest, seed] for seed in seeds] for arm in arms}


def _records(todo, out):
  """Yields the record of each (arm, seed).

  On a CPU one by one, so that a stop costs one run; else all that share a program at once: seeds,
  and arms that differ in traced hyper-parameters only.
  """
  programs, waiting, fingerprints = scanned.Programs(), {}, {}
  alone = jax.default_backend() == 'cpu'
  for arm, seed in todo:
    if len(programs.compiled) > MOST_PROGRAMS:
      programs = scanned.Programs()
      jax.clear_caches()
    job = prepare(arm, seed, out)
    if why := scanned.why_not(job.stage):
      print(f'{arm.name} s{seed} runs in the loop: {why}', flush=True)
      yield in_a_loop(job)
    elif alone:
      yield from as_programs([job], [scan(job)], programs)
    else:
      run = scan(job)
      if arm.name not in fingerprints:
        fingerprints[arm.name] = programs.fingerprint(run.program, run.inputs)
      waiting.setdefault(fingerprints[arm.name], []).append((job, run))
    job.world.close()
  for some in waiting.values():
    yield from as_programs(*zip(*some), programs)


def describe(record):
  """One line on a run."""
  parts = [f'{record["arm"]} s{record["seed"]}: {record["engine"]}, {record["seconds"]:.0f} s']
  parts[0] += f' (compiling {record["compile_seconds"]:.0f} s)'
  if 'reward' in record:
    ends = (np.mean(part) for part in (record['reward'][:5], record['reward'][-5:]))
    parts.append('training reward ' + ' → '.join(f'{x:.3f}' for x in ends))
  both = itertools.takewhile(lambda name: name in record['start'], ('pass@1', 'pass@16'))
  for name in both:
    parts.append(f'{name} {record["start"][name]:.3f} → {record["end"][name]:.3f}')
  return ', '.join(parts)
