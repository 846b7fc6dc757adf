"""How much memory the compiled update takes: what bounds it, and what does not enlarge it."""

import functools

import jax
import numpy as np
import pytest
from rollouts import random_rollout
from tiny_updates import GRPO

from rljax import arrays, binding, loss_pass, models, objective, update
from rljax.data.packing import make_layout, pack

ROWS, LENGTH, CHUNK = 2, 128, 8
# Whole distributions, before the update and in it, with a gradient and without.
ALL = {
  **GRPO,
  'kl': dict(name='regularizers.full_reverse_kl'),
  'kl_coef': 0.1,
  'entropy': dict(name='regularizers.entropy_bonus'),
  'entropy_coef': 0.01,
  'epochs': 2,
}


def size_of(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), tree)


class Update:
  """The update of a decoder on `micro` micro-batches: shapes only, nothing is computed."""

  def __init__(self, stage, *, vocab=32, micro=2, minibatches=1, **model):
    policy = models.decoder(vocab_size=vocab, num_heads=2, num_kv_heads=1, **model)
    self.policies = {'policy': policy, 'reference': policy}
    self.terms = objective.build({**stage, 'minibatches': minibatches})
    self.optimizers = {'policy': binding.bind(dict(name='optimizers.adamw'))}
    samples = micro * ROWS * minibatches
    rollout, rewards = random_rollout(prompts=samples // 2, group=2, length=LENGTH, vocab=vocab)
    layout = make_layout(
      samples=samples, group_size=2, max_length=LENGTH, rows=ROWS, row_length=LENGTH,
      packed=False, minibatches=minibatches,
    )  # fmt: skip
    self.batch = abstract(pack(rollout, rewards, layout)[0])
    self.params = jax.eval_shape(policy.init, jax.random.key(0))
    self.frozen = {'reference': self.params} if self.terms.frozen_roles else {}
    self.state = jax.eval_shape(
      lambda params: update.init_train_state(
        {'policy': params}, self.optimizers, jax.random.key(0), self.terms.first_state()
      ),
      self.params,
    )

  @functools.cached_property
  def memory(self):
    """Of the whole update, its state donated."""
    step = update.make_update_step(
      self.terms, self.policies, self.optimizers, epochs=self.epochs, chunk_size=CHUNK
    )
    rates = {'policy': self.optimizers['policy'].hyper(0)}
    hyper = {**self.terms.hyper(0), 'optimizer': rates}
    arguments = (self.state, self.frozen, self.batch, hyper)
    return jax.jit(step, donate_argnums=0).lower(*arguments).compile().memory_analysis()

  @property
  def epochs(self):
    return 1 if self.terms.on_policy else 2

  def of_one_micro_batch(self):
    """Bytes of the gradient of one micro-batch, and of what is made for it."""
    static = dict(objective=self.terms, policies=self.policies, chunk_size=CHUNK)
    hyper = self.terms.hyper(0)

    def prepared(params, batch):
      batch, *_ = update.prepare(batch, {'policy': params}, {}, hyper, **static)
      rows = jax.tree.map(lambda x: x[0, 0], arrays.token_arrays(batch))
      return rows, {**arrays.sample_arrays(batch), **dict.fromkeys(arrays.SCALARS, batch.num_micro)}

    def gradient(params, rows, samples):
      return jax.grad(loss_pass.micro_loss, has_aux=True)(params, rows, samples, hyper, **static)

    rows, samples = jax.eval_shape(prepared, self.params, self.batch)
    lowered = jax.jit(gradient).lower({'policy': self.params}, rows, samples)
    memory = lowered.compile().memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


@pytest.mark.slow
def test_a_larger_vocabulary_takes_one_larger_chunk():
  """And the head's gradients; never the [r, T, V] of a micro-batch."""
  small, large = 256, 4096
  found = {
    vocab: Update(ALL, vocab=vocab, num_layers=1, d_model=8, d_ff=16).memory.temp_size_in_bytes
    for vocab in (small, large)
  }
  more, head = (large - small) * 4, (large - small) * 4 * 8
  growth = found[large] - found[small]
  assert growth < 5 * ROWS * CHUNK * more + 5 * head < ROWS * LENGTH * more


@pytest.fixture(scope='module')
def wide():
  """An update whose weights are most of what it holds."""
  return Update(GRPO, d_model=128, num_layers=2, d_ff=512, remat='full')


def test_the_peak_is_the_accumulator_and_the_gradient_of_one_micro_batch(wide):
  parts = size_of(wide.params) + wide.of_one_micro_batch()
  assert abs(wide.memory.temp_size_in_bytes - parts) < 0.15 * size_of(wide.params)


@pytest.mark.parametrize(
  'more', [dict(micro=16), pytest.param(dict(minibatches=4), marks=pytest.mark.thorough)], ids=str
)
def test_more_micro_batches_take_no_more_memory(wide, more):
  """But for the arrays of tokens that `prepare` fills."""
  other = Update(GRPO, d_model=128, num_layers=2, d_ff=512, remat='full', **more)
  growth = other.memory.temp_size_in_bytes - wide.memory.temp_size_in_bytes
  assert growth < 10 * size_of(other.batch.tokens) < 0.2 * size_of(wide.params)


def test_parameters_and_optimizer_state_are_updated_in_place(wide):
  kept = size_of((wide.state.params, wide.state.opt_state))
  assert kept > 3 * size_of(wide.params)
  assert wide.memory.alias_size_in_bytes >= kept
