"""Level 0: the gradient that a config makes, against the exact one. No training.

  python experiments/suite/level0.py --config=papers/oblr_po --baseline=presets/opo \
    --out=runs/level0/NAME [--config.a.b=value] [--set ARM:--config.a.b=value]

On a tree of completions (`suite.tree`) the gradient of the expected reward, less the KL where a
config has one, is a sum. What trains is what is measured: the objective of the config's last stage
through `prepare` and the loss pass, on groups of 8 drawn from the tree, all in one minibatch; its
task and the number of its samples are not there. A bonus of entropy shows as a bias.

Method and baseline see the same draws; the row A/A is the baseline on others; RLOO is what
variances are relative to. With --drift the samples are of another policy than the one whose
gradient is taken, as in later steps of an update.

<out> holds results.jsonl (one line for each arm and batch of iterations) and table.md.
"""

import argparse
import functools
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
import numpy as np
from comparison import arms, effects
from comparison.report import head, line, number

from rljax import arrays, config, files, objective
from rljax.binding import value_at
from rljax.loss_pass import micro_loss
from rljax.prepare import prepare
from rljax.update import accumulate
from suite import tree

RLOO = dict(
  advantage=dict(name='advantages.leave_one_out'),
  loss=dict(name='losses.reinforce'),
  weights=dict(name='weighting.seq_mean_token_sum'),
)
BETTER = {'bias²': -1, 'variance': -1, 'cosine': 1, 'zero groups': -1}  # which way
WARM_UP = 8  # iterations before what is measured, where a method remembers
CHUNK = 512
STRATEGY = 'rollouts.single_turn'


class LevelZeroError(ValueError):
  """A config asks for what the tree does not have."""


def check(terms, node):
  """Refuses what would silently be another method here."""
  components, extras = node.get('reward_components') or (), node.get('extras') or ()
  strategy = (node.get('rollout') or {}).get('name', STRATEGY)
  missing = {
    'critic': terms.value is not None,
    'reward model': bool(terms.late & set(arrays.SCORES)),
    f'reward_components {tuple(components)}': bool(set(components) - {'reward'}),
    f'extras {tuple(extras)}': bool(extras),
    f'rollout strategy {strategy}': strategy != STRATEGY,
  }
  if found := [name for name, asked in missing.items() if asked]:
    raise LevelZeroError(f'level 0 has no {", no ".join(found)}; measure it on a task')


def make_gradients(node, prompts, *, samples=8, lanes=256, steps=4):
  """`gradients(world, table, old, key) -> float32 [steps · lanes, prompts, …]`, the KL coefficient.

  A gradient ascends, so the exact one is of the same sign. Where a method remembers, each of the
  lanes remembers along its steps. One program serves all worlds.

  Args:
    node: of a stage.
    prompts: of the worlds, which are `tree.Tree`.
    samples: G.
    lanes, steps: how many iterations are drawn, side by side and one after the other.

  Raises:
    LevelZeroError: see `check`.
  """
  terms = objective.build(node)
  check(terms, node)
  hyper, like = terms.hyper(0), tree.template(prompts, samples)
  policies = dict.fromkeys(('policy', 'reference', 'teacher'), tree.policy(prompts))
  shared = dict(objective=terms, policies=policies, chunk_size=CHUNK)

  def iteration(key, table, old, memory, rewards, frozen):
    loss = functools.partial(micro_loss, frozen=frozen, **shared)
    drawn, own = jax.random.split(key)
    batch = tree.draw(drawn, old, rewards, samples, like)
    params = {'policy': tree.params_of(old)}
    batch, _, memory = prepare(
      batch, params, frozen, hyper, key=own, method_state=memory, **shared
    )
    rows = jax.tree.map(lambda x: x[0], arrays.token_arrays(batch))
    given = {**arrays.sample_arrays(batch), 'prox_step': 0, 'step': 0}
    params = {'policy': tree.params_of(table)}
    found, _ = accumulate(loss, params, rows, given, hyper, batch.num_micro[0])
    return -found['policy']['table'].reshape(prompts, -1), memory

  warm = WARM_UP if terms.remembering else 0

  @jax.jit
  def program(rewards, frozen, table, old, key):
    def step(memory, key):
      keys = jax.random.split(key, lanes)
      found, memory = jax.vmap(
        lambda key, memory: iteration(key, table, old, memory, rewards, frozen)
      )(keys, memory)
      return memory, found

    first = {name: bound.first_state() for name, bound in terms.remembering.items()}
    first = jax.tree.map(
      lambda x: jnp.broadcast_to(jnp.asarray(x, jnp.asarray(x).dtype), (lanes, *jnp.shape(x))),
      first,
    )
    found = jax.lax.scan(step, first, jax.random.split(key, warm + steps))[1][warm:]
    return found.reshape(-1, *found.shape[2:])

  def gradients(world, table, old, key):
    frozen = {
      'reference': tree.params_of(world.reference),
      'teacher': tree.params_of(world.checkpoints[-1]),
    }
    return program(jnp.asarray(world.rewards), frozen, table, old, key)

  has_kl = terms.kl is not None
  return gradients, float(value_at(terms.coefficients['kl'], 0)) if has_kl else 0.0


def measure(found, exact):
  """What one batch of gradients says.

  Args:
    found: [n, prompts, …], the gradients of n iterations.
    exact: of the size of one of them.

  Returns:
    'scale': c of E ĝ ≈ c·g. 'bias²': ‖E ĝ − c·g‖²/‖c·g‖², without the part that is noise of the
    mean (so it may be below 0). 'variance': of one iteration, tr Cov ĝ/‖c·g‖². 'cosine': mean of
    cos(ĝ, g), 0 for a gradient that is 0. 'zero groups': share of the prompts' gradients that are.
  """
  found = np.asarray(found, np.float64)
  zero = float(np.mean(np.all(found == 0, axis=2)))
  found, exact = found.reshape(len(found), -1), np.asarray(exact, np.float64).reshape(-1)
  size, count = exact @ exact, len(found)
  along = found @ exact / size
  scale = along.mean()
  across = found - along[:, None] * exact
  total = across.sum(axis=0)
  unbiased = (total @ total - np.sum(across**2)) / (count * (count - 1))
  norms = np.linalg.norm(found, axis=1)
  cosine = along * np.sqrt(size) / np.where(norms > 0, norms, 1)
  return {
    'scale': float(scale),
    'bias²': float(unbiased / (scale**2 * size)),
    'variance': float(np.sum(np.var(found, axis=0, ddof=1)) / (scale**2 * size)),
    'cosine': float(cosine.mean()),
    'zero groups': zero,
  }


def records(name, node, world, *, batches, seed=0, drift=0.0, made=None, **sizes):
  """One record for each batch of iterations: means over the checkpoints, and each of them.

  Args:
    name: of the arm.
    node: of its stage.
    world: `tree.Tree`.
    batches: how many.
    seed: of the draws; arms that are compared have the same.
    drift: standard deviation of what the logits of the policy that draws are away by.
    made: what `make_gradients` has returned for another world; None = it is called.
    **sizes: as of `make_gradients`.
  """
  gradients, kl_coef = made or make_gradients(node, world.prompts, **sizes)
  exact = [world.gradient(table, kl_coef) for table in world.checkpoints]
  key, away = jax.random.key(seed), jax.random.key(0xD21F)
  found = []
  for batch in range(batches):
    each = []
    for i, table in enumerate(world.checkpoints):
      old = table + drift * jax.random.normal(jax.random.fold_in(away, i), table.shape)
      drawn = jax.random.fold_in(jax.random.fold_in(key, i), batch)
      each.append(measure(gradients(world, table, old, drawn), exact[i]))
    means = {metric: float(np.mean([x[metric] for x in each])) for metric in each[0]}
    found.append({'arm': name, 'batch': batch, **means, 'checkpoints': each})
  return found


def relative(found, rloo):
  """The records of all arms with variances in those of RLOO at the same checkpoint and batch."""
  out = {}
  for arm, rows in found.items():
    out[arm] = []
    for row, other in zip(rows, rloo, strict=True):
      pairs = zip(row['checkpoints'], other['checkpoints'], strict=True)
      ratios = [mine['variance'] / theirs['variance'] for mine, theirs in pairs]
      out[arm].append({**row, 'variance': float(np.mean(ratios))})
  return out


def table(found, baseline, *, samples, iterations, drawn='batches'):
  """The report: what each arm's gradient is like, and how it differs from the baseline's.

  Args:
    found: {arm: records}, as of `relative`.
    baseline: the arm that others are compared with; `arms.A_A` is among them.
    samples, iterations: of a group, of a batch.
    drawn: what the records are: batches on one tree, or trees.
  """
  rows = [
    f'Baseline {baseline}; groups of {samples}; {len(found[baseline])} {drawn}, {iterations} '
    f'iterations at each of 3 checkpoints, paired, with 95 % t intervals over {drawn}.',
    '',
    *head('arm', 'bias ‖E ĝ − c·g‖/‖c·g‖', 'variance × samples / RLOO', 'cosine', 'zero, %', 'c'),
  ]
  for arm, told in found.items():
    mean = {name: np.mean([r[name] for r in told]) for name in (*BETTER, 'scale')}
    bias = np.sign(mean['bias²']) * np.sqrt(abs(mean['bias²']))
    cells = [number(x, False) for x in (bias, mean['variance'], mean['cosine'])]
    rows.append(line(arm, *cells, number(mean['zero groups'], True), number(mean['scale'], False)))
  rows += ['', *head('arm − baseline', 'of', 'difference', 'detectable', 'verdict')]
  for arm in found:
    if arm != baseline:
      rows += [_row(found, baseline, arm, metric) for metric in BETTER]
  return '\n'.join([*rows, '', *NOTES]) + '\n'


NOTES = (
  'c is fitted, so a rescaled gradient is the same gradient; a bias below 0 is none that these',
  'samples show. *holds*: the arm is better (less bias, variance, zero groups; a larger cosine).',
)


def _row(found, baseline, arm, metric):
  def values(name):
    return [r[metric] for r in found[name]]

  effect = effects.paired(values(arm), values(baseline))
  noise = effects.spread(effects.paired(values(arms.A_A), values(baseline)))
  said = [number(x, False, '+') for x in (effect.mean, effect.low, effect.high)]
  cells = [arm, metric, f'**{said[0]}** [{said[1]}, {said[2]}]']
  if arm == arms.A_A:
    return line(*cells, '', f'spread {number(noise, False)}')
  idle = same_gradients(found[arm], found[baseline])
  verdict = effects.verdict(effect, noise, claim=BETTER[metric])
  return line(
    *cells, number(effects.detectable(effect, noise), False), 'not exercised' if idle else verdict
  )


def same_gradients(ours, theirs):
  """Whether the records of two arms are equal: the mechanism has not acted."""
  pairs = zip(ours, theirs, strict=True)
  return all(mine['checkpoints'] == other['checkpoints'] for mine, other in pairs)


def main(argv=None):
  args, changes = parse(argv)
  world = tree.make_tree(graded=args.graded)
  try:
    chosen = arms.make_arms(args.config, args.baseline, changes, {}, args.set)
  except config.ConfigError as error:
    sys.exit(f'level0: {error}')
  sizes = dict(lanes=args.lanes, steps=args.steps, batches=args.batches, drift=args.drift)
  found = {}
  args.out.mkdir(parents=True, exist_ok=True)
  for arm in chosen:
    seed = args.seed ^ arms.OTHER_NOISE if arm.other_noise else args.seed
    try:
      found[arm.name] = records(arm.name, arm.settings[arm.stage], world, seed=seed, **sizes)
    except LevelZeroError as error:
      sys.exit(f'level0: {arm.name}: {error}')
    print(f'{arm.name}: done', flush=True)
  rloo = records('RLOO', RLOO, world, seed=args.seed, **sizes)
  text = table(
    relative({**found, 'RLOO': rloo}, rloo),
    chosen[0].name,
    samples=8,
    iterations=args.lanes * args.steps,
  )
  lines = [row for rows in (*found.values(), rloo) for row in rows]
  (args.out / 'results.jsonl').write_text(files.json_lines(lines))
  (args.out / 'table.md').write_text(text)
  print(f'\n{text}\n{args.out}: table.md, results.jsonl')


def parse(argv):
  """(flags, the arguments that change all configs)."""
  formatter = argparse.RawDescriptionHelpFormatter
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=formatter, allow_abbrev=False
  )
  add = parser.add_argument
  add('--config', action='append', default=[], help='CONFIG or ARM=CONFIG; may stand repeatedly')
  add('--baseline', required=True, help='CONFIG or ARM=CONFIG')
  add('--out', type=pathlib.Path, required=True)
  add('--set', action='append', type=_of_arm, default=[], help='ARM:--config.a.b=value')
  add('--batches', type=int, default=8, help='each a pair of the intervals (default 8)')
  add('--lanes', type=int, default=256, help='iterations side by side (default 256)')
  add('--steps', type=int, default=4, help='of them one after the other (default 4)')
  add('--drift', type=float, default=0.0, help='std of the logits from those that draw; 0 = none')
  add('--graded', action='store_true', help='rewards of 0 to 1 and not 0 and 1')
  add('--seed', type=int, default=0, help='of the draws')
  args, changes = parser.parse_known_args(argv)
  for change in changes:
    if not change.startswith(('--config.', '--noconfig.')):
      parser.error(f'unknown argument {change!r}')
  return args, changes


def _of_arm(text):
  """ARM:value as (arm, value)."""
  arm, found, value = text.partition(':')
  if not found:
    raise argparse.ArgumentTypeError(f'{text!r} is no ARM:value')
  return arm, value


if __name__ == '__main__':
  main()
