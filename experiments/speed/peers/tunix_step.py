"""Tunix' GRPOLearner, one optimizer step a request: its data set waits to be asked."""

import time

import jax
import numpy as np
import optax
import tunix_model
from serve import Channel, peak_mib, share_of_even
from tunix.rl import rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout import base_rollout


def main():
  channel = Channel()
  work = channel.work
  model, mesh = tunix_model.make_model(work)
  with mesh:
    cluster = rl_cluster.RLCluster(
      actor=model,
      tokenizer=tunix_model.Tokenizer(),
      cluster_config=cluster_config(work, mesh),
    )
  clock = Clock(channel, cluster, tunix_model.texts(work))
  learner = GRPOLearner(
    rl_cluster=cluster,
    reward_fns=reward,
    algo_config=GRPOConfig(
      num_generations=work['samples'], num_iterations=1, beta=0.0, epsilon=0.2
    ),
  )
  channel.say(
    parameters=tunix_model.count(model), versions=tunix_model.versions(), device='cpu'
  )
  with mesh:
    learner.train(clock)


def reward(prompts, completions, **_):
  return [share_of_even(text) for text in completions]


def cluster_config(work, mesh):
  """All prompts in one optimizer step, in micro-batches of work['micro'] prompts."""
  prompts = len(work['prompts'])
  return rl_cluster.ClusterConfig(
    role_to_mesh=dict.fromkeys(
      (rl_cluster.Role.ACTOR, rl_cluster.Role.REFERENCE, rl_cluster.Role.ROLLOUT), mesh
    ),
    rollout_engine='vanilla',
    offload_to_cpu=False,
    training_config=rl_cluster.RLTrainingConfig(
      actor_optimizer=optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(work['learning_rate'])
      ),
      eval_every_n_steps=10**6,
      max_steps=10**6,
      mini_batch_size=prompts,
      train_micro_batch_size=work['micro'],
      rollout_micro_batch_size=prompts,
      compute_logps_micro_batch_size=prompts,
    ),
    rollout_config=base_rollout.RolloutConfig(
      max_tokens_to_generate=work['completion'],
      max_prompt_length=work['prompt'],
      kv_cache_size=work['prompt'] + work['completion'],
      temperature=1.0,
      top_p=1.0,
      top_k=None,
      eos_tokens=[tunix_model.NEVER],
    ),
  )


class Clock:
  """The data set. Asked for the next batch, it answers for the last one and waits for a request.

  The learner looks for a batch when everything of the one before is done; it takes the first one
  out of the iterator before its loop begins.
  """

  def __init__(self, channel, cluster, prompts):
    self.channel, self.cluster, self.prompts = channel, cluster, prompts
    self.started = None
    self._watch()

  def _watch(self):
    """Notes how long generation takes and what is trained on."""
    generate, update = self.cluster.generate, self.cluster.update_actor

    def timed(*args, **kwargs):
      started = time.perf_counter()
      found = generate(*args, **kwargs)
      self.generating += time.perf_counter() - started
      return found

    def counted(examples, *args, **kwargs):
      for example in examples:
        self.tokens += int(np.size(example.completion_ids))
        # Its masks leave out what it sampled of id 0, which pads.
        self.trained += int(np.sum(example.completion_mask) + np.sum(example.prompt_mask))
      return update(examples, *args, **kwargs)

    self.cluster.generate, self.cluster.update_actor = timed, counted

  def __iter__(self):
    while True:
      self.channel.wait()
      self.tokens, self.trained, self.generating = 0, 0, 0.0
      self.started = time.perf_counter()
      yield {'prompts': np.array(self.prompts)}
      self._answer()

  def _answer(self):
    model = self.cluster.actor_trainer.model
    tunix_model.wait_for(model)
    seconds = time.perf_counter() - self.started
    self.channel.say(
      seconds=seconds,
      generation=self.generating,
      tokens=self.tokens,
      trained_tokens=self.trained,
      finite=tunix_model.is_finite(model),
      peak_mib=peak_mib(),
    )


if __name__ == '__main__':
  jax.config.update('jax_platforms', 'cpu')
  main()
