"""Part generation: rljax, the naive program and the peers' samplers on the same prompts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from speed import naive, ours, timing
from speed.context import Context, check
from speed.programs import Program
from speed.shapes import Work

PEERS = {
  'transformers generate': ('torch', 'transformers_generate', {}),
  'Tunix sampler': ('tunix', 'tunix_sampler', {}),
}
NAIVE = 'naive loop'
LOGPROBS = 1e-4  # nats: float32 sums in another order
TIES = 1e-4  # nats below the best token that still count as the best


def measure(context: Context) -> dict:
  work, params = context.work, ours.make_params(context.work.shape)
  sampler = ours.Sampler('generation: rljax', work, next(iter(ours.STEP.values())))
  loop = NaiveLoop(work)
  asked, state = ours.requests(work), {'seed': 0}

  def run_ours():
    state['seed'] += 1
    state['rollout'] = sampler(params, asked, state['seed'])
    return {'tokens': int(state['rollout'].action_mask.sum())}

  with context.peers(PEERS) as peers:
    contestants = {'rljax': run_ours, NAIVE: loop, **peers}
    arms = timing.interleave(contestants, rounds=context.rounds, say=context.say)
    about = {name: peer.about for name, peer in peers.items()}
  greedy = sampler(params, ours.requests(work, temperature=0.0), 0)
  return {
    'work': work.as_json(),
    'settings': {'rljax': repr(sampler.settings)},
    'arms': arms,
    'about': about,
    'checks': checks(work, params, arms, state['rollout'], greedy, loop),
  }


class NaiveLoop:
  """The naive sampler of a work: attention over the whole cache at every step."""

  def __init__(self, work: Work):
    self.work, self.count = work, 0

    def run(params, prompts, key, limit):
      return naive.generate(work.shape, params, prompts, key, limit, length=work.length)

    self.prompts = jnp.repeat(jnp.asarray(work.prompt_ids()), work.samples, axis=0)
    self.params = ours.make_params(work.shape)
    arguments = (self.params, self.prompts, jax.random.key(0), work.completion)
    self.program = Program('generation: naive loop', run, *arguments)

  def __call__(self, params=None) -> dict:
    self.count += 1
    key = jax.random.key(self.count)
    params = self.params if params is None else params
    self.samples = self.program(params, self.prompts, key, self.work.completion)
    jax.block_until_ready(self.samples)
    return {'tokens': int(self.samples.steps) * self.work.rows}


def checks(work, params, arms, rollout, greedy, loop) -> list[dict]:
  """What rljax returned, against the naive program over whole rows."""
  found = []
  for name, arm in arms.items():
    tokens = timing.values(arm, 'tokens')
    check(found, f'{name}: tokens of each run', set(tokens) == {work.new_tokens}, str(tokens[-1]))
  score = Program('check: scores', lambda p, t: naive.score(work.shape, p, t, 8), params,
                  jnp.zeros((work.rows, work.length), jnp.int32))  # fmt: skip
  far = logprob_error(score(params, rollout.tokens)[0], rollout)
  check(found, 'log-probs of the samples = naive, nats', far < LOGPROBS, f'{far:.1e} at most')
  chosen, best = score(params, greedy.tokens)
  gap = float(np.max(np.where(greedy.action_mask, best - chosen, 0)))
  check(found, 'greedy tokens = naive, nats below the best', gap < TIES, f'{gap:.1e} at most')
  tokens = jnp.concatenate([loop.prompts, loop.samples.tokens], axis=1)
  of_loop = np.asarray(score(params, tokens)[0])[:, work.prompt :]
  far = float(np.max(np.abs(of_loop - np.asarray(loop.samples.logprobs))))
  check(found, 'log-probs of the naive loop = naive, nats', far < LOGPROBS, f'{far:.1e} at most')
  return found


def logprob_error(recomputed, rollout) -> float:
  difference = np.asarray(recomputed) - np.asarray(rollout.policy_logprobs)
  return float(np.max(np.where(rollout.action_mask, np.abs(difference), 0)))
