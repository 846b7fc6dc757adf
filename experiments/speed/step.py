"""Part step: a whole GRPO iteration of rljax, of a naive program, of TRL and of Tunix."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

from speed import naive, ours, timing
from speed.context import Context, check
from speed.generation import NaiveLoop
from speed.programs import Program
from speed.shapes import Work

NORM = 1e-4  # relative: float32 sums in another order
NAIVE = 'naive program'


def peers(work: Work) -> dict:
  """The peers' default, one batch of everything, and the setting that was best of several."""
  rows, prompts = work.rows, work.prompts
  found = {f'TRL, micro-batch {m}': ('torch', 'trl_step', {'micro': m}) for m in (rows, 8)}
  for micro in (prompts, 1):
    options = ('tunix', 'tunix_step', {'micro': micro})
    found[f'Tunix, micro-batch {micro * work.samples}'] = options
  return found


def measure(context: Context) -> dict:
  work = context.work
  steps = {name: ours.Step(name, work, settings) for name, settings in ours.STEP.items()}
  yardstick = NaiveStep(work)
  checks = []
  for name, step in steps.items():
    norms(checks, name, step, yardstick)
  with context.peers(peers(work)) as others:
    contestants = {**steps, NAIVE: yardstick, **others}
    arms = timing.interleave(contestants, rounds=context.rounds, say=context.say)
    about = {name: peer.about for name, peer in others.items()}
  counts(checks, work, arms)
  return {
    'work': work.as_json(),
    'settings': {name: repr(settings) for name, settings in ours.STEP.items()},
    'micro_batch': micro_batches(steps, yardstick, others),
    'arms': arms,
    'about': about,
    'checks': checks,
  }


class NaiveStep:
  """A naive iteration: no packing, one sample a row, `micro` rows at a time."""

  def __init__(self, work: Work, micro: int = 4):
    self.work, self.micro = work, micro
    self.generate = NaiveLoop(work)

    def update(params, opt_state, tokens, mask, rewards):
      given = (work.shape, work.learning_rate, params, opt_state, tokens, mask, rewards)
      return naive.update(*given, samples=work.samples, micro=micro)

    self.params = ours.make_params(work.shape)
    self.opt_state = naive.optimizer(work.learning_rate).init(self.params)
    rows = (work.rows, work.length)
    self.update = Program(
      'naive program: update', update, self.params, self.opt_state,
      jnp.zeros(rows, jnp.int32), jnp.zeros(rows, bool), jnp.zeros(work.rows, jnp.float32),
    )  # fmt: skip

  def __call__(self) -> dict:
    started = time.perf_counter()
    self.generate(self.params)
    generated = time.perf_counter()
    drawn = np.asarray(self.generate.samples.tokens)
    tokens = np.concatenate([self.generate.prompts, drawn], axis=1)
    mask = np.zeros(tokens.shape, bool)
    mask[:, self.work.prompt :] = True
    rewards = (drawn % 2 == 0).mean(1, dtype=np.float32)
    packed = time.perf_counter()
    out = self.update(self.params, self.opt_state, tokens, mask, rewards)
    self.params, self.opt_state, norm = jax.block_until_ready(out)
    ended = time.perf_counter()
    return {
      'seconds': ended - started,
      'generation': generated - started,
      'host': packed - generated,
      'update': ended - packed,
      'tokens': int(mask.sum()),
      'trained_tokens': tokens.size,
      'grad_norm': float(norm),
    }


def norms(checks: list[dict], name: str, step: ours.Step, yardstick: NaiveStep) -> None:
  """One step of rljax, and the norm of the naive program's gradient on the same rollout."""
  params = jax.tree.map(jnp.copy, step.update.state.params['policy'])
  seen = step()
  rollout = step.rollout
  # The optimizer's state has no part in the norm.
  other = yardstick.update(
    params, yardstick.opt_state, rollout.tokens, rollout.action_mask, ours.rewards(rollout)
  )
  far = abs(seen['grad_norm'] / float(other[2]) - 1)
  said = f'{seen["grad_norm"]:.6f} and {float(other[2]):.6f}'
  check(checks, f'{name}: norm of the gradient = naive', far < NORM, said)


def counts(checks: list[dict], work: Work, arms: dict) -> None:
  """Tokens sampled and trained on, and finite gradients, of every run that counts."""
  for name, arm in arms.items():
    new, trained = timing.values(arm, 'tokens'), timing.values(arm, 'trained_tokens')
    # Tunix leaves out of its loss what it samples of the id that pads: one token in 4096.
    close = all(abs(t / work.trained_tokens - 1) < 2e-3 for t in trained)
    said = f'{new[-1]}, {trained[-1]}'
    same = set(new) == {work.new_tokens}
    check(checks, f'{name}: tokens sampled, trained on', same and close, said)
    norms = timing.values(arm, 'grad_norm')
    finite = all(np.isfinite(norms)) and all(run.get('finite', True) for run in arm['runs'])
    said = f'norm {norms[-1]:.4f}' if norms else 'parameters'
    check(checks, f'{name}: finite gradient', finite, said)


def micro_batches(steps, yardstick, others) -> dict[str, str]:
  found = {}
  for name, step in steps.items():
    layout = step.update.layout
    found[name] = f'{layout.rows} rows of {layout.row_length} tokens'
  found[NAIVE] = f'{yardstick.micro} samples'
  for name in others:
    found[name] = f'{name.rsplit(" ", 1)[1]} samples'
  return found
