"""Self-distillation from a privileged context: SSB."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import binding, config, logprobs, losses, tokenization
from rljax.data.packing import make_layout, pack
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scores
from rljax.rollouts import Generator, SamplerProgram, single_turn, soft_bootstrap
from rljax.sharding import make_mesh

TOKENIZER = tokenization.characters(alphabet='ab!=>')
POLICY = decoder(
  vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
)
GENERATE = Generator(
  SamplerProgram(POLICY, make_mesh(devices=jax.devices()[:1])), TOKENIZER, lambda r: r, prompts=3,
  samples=4, max_prompt=3, max_new_tokens=4, seed=3,
)  # fmt: skip
PARAMS = jax.tree.map(lambda x: 2 * x, POLICY.init(jax.random.key(0)))
PROMPTS = [
  Prompt(text=t, prompt_id=i, answer='ab', tokens=tuple(TOKENIZER.encode(t)))
  for i, t in enumerate(('a>', 'ab>', 'b>'))
]
K = 3


def score(completions):
  """Odd numbers of letters are right; of the third prompt nothing is."""
  right = [len(c.text) % 2 == 1 and c.prompt.text != 'b>' for c in completions]
  return Scores(np.array(right, np.float32), {'index': np.arange(len(right))}, 0, 0, {})


def bootstrap(**changes):
  hyper = dict(template='{prompt}{wrong}!{right}=', num_top=K, max_context=14)
  return soft_bootstrap(PARAMS, PROMPTS, [7, 8, 9], GENERATE, score, 5, **{**hyper, **changes})


@pytest.fixture(scope='module')
def found():
  return bootstrap()


def distribution(tokens):
  """log π of the tokens that may follow each beginning [T, V]."""
  places = jnp.arange(len(tokens), dtype=jnp.int32)[None]
  ids = jnp.array([tokens], jnp.int32)
  hidden, _ = POLICY.hidden(PARAMS, ids, segment_ids=places * 0, positions=places)
  return np.asarray(jax.nn.log_softmax(POLICY.unembed(POLICY.head(PARAMS), hidden)[0]))


def contexts():
  """Of each prompt with both a right and a wrong draw."""
  first = single_turn(PARAMS, PROMPTS, [7, 8, 9], GENERATE, score, 5)
  out = {}
  for g, prompt in enumerate(PROMPTS):
    own = range(4 * g, 4 * g + 4)
    texts = {
      right: [first.completions[i].text for i in own if first.scores.rewards[i] == right]
      for right in (0, 1)
    }
    if texts[0] and texts[1]:
      wrong = max(texts[0], key=texts[0].count)
      out[g] = f'{prompt.text}{wrong}!{texts[1][0]}='
  return out


@pytest.mark.thorough
def test_ssb_stores_what_the_policy_says_behind_a_privileged_context(found):
  rollout, asked = found.rollout, contexts()
  assert asked and 2 not in asked
  rows = np.flatnonzero(rollout.group_ids >= 0)
  assert len(rows) == len(found.completions) > 0
  for row, completion in zip(rows, found.completions):
    group, own = int(rollout.group_ids[row]), list(completion.tokens)
    assert completion.prompt is PROMPTS[group] and len(completion.text) % 2 == 1
    bare = [*PROMPTS[group].tokens, *own]
    assert rollout.tokens[row, : rollout.num_tokens[row]].tolist() == bare
    context = TOKENIZER.encode(asked[group])
    said = distribution([*context, *own])[len(context) - 1 : -1]  # of each token of the completion
    places = slice(len(bare) - len(own), len(bare))
    best = np.sort(said, axis=-1)[:, ::-1][:, :K]
    np.testing.assert_allclose(found.extras['stored_logprobs'][row, places], best, atol=1e-4)
    ids = found.extras['stored_ids'][row, places]
    np.testing.assert_allclose(np.take_along_axis(said, ids, axis=-1), best, atol=1e-4)
    alone = distribution(bare)[places.start - 1 : -1][np.arange(len(own)), own]
    np.testing.assert_allclose(rollout.policy_logprobs[row, places], alone, atol=1e-4)
  assert found.extras['is_external'].sum() == len(rows)
  assert all(check_name(name) for name in found.metrics)
  assert found.metrics['method/soft_bootstrap/contexts'] == len(asked) / 3
  assert found.metrics['reward/mean'] == score(
    single_turn(PARAMS, PROMPTS, [7, 8, 9], GENERATE, score, 5).completions
  ).rewards.mean()


def test_ssb_learns_nothing_without_a_pair_or_a_right_explanation():
  nothing = bootstrap(threshold=2.0)
  assert not (nothing.rollout.group_ids >= 0).any() and nothing.completions == []
  assert nothing.extras['stored_ids'].shape == (*nothing.rollout.tokens.shape, K)
  layout = make_layout(samples=12, group_size=4, max_length=7)
  batch, _ = pack(nothing.rollout, np.zeros(12, np.float32), layout, extras=nothing.extras)
  assert batch.num_micro.tolist() == [0]
  with pytest.raises(ValueError, match='max_context is 3'):
    bootstrap(max_context=3)


def test_stored_entries_are_packed_with_their_tokens(found):
  layout = make_layout(samples=12, group_size=4, max_length=7)
  batch, _ = pack(found.rollout, np.ones(12, np.float32), layout, extras=found.extras)
  assert batch.extras['stored_ids'].shape == (*batch.tokens.shape, K)
  seen = 0
  for sample in np.flatnonzero(found.rollout.group_ids >= 0):
    place = np.unravel_index(batch.sample_slots[sample], batch.sample_ids.shape)
    here = batch.segment_ids[place[:3]] == place[3]
    size = int(here.sum())
    for name in ('stored_ids', 'stored_logprobs'):
      packed = batch.extras[name][place[:3]][here]
      np.testing.assert_array_equal(packed, found.extras[name][sample, :size])
    seen += 1
  assert seen == len(found.completions)


def test_ssb_draws_the_policy_to_the_stored_distribution():
  settings = config.load(str(config.find('papers/ssb'))).rl
  assert binding.bind(settings.loss).function is losses.stored_distillation
  rng = np.random.default_rng(0)
  target = np.array([0.5, 0.3])  # of entries 4 and 1; the other three share the rest
  stored = (jnp.array([[[0, 1], [4, 1]]]), jnp.log(jnp.array([[[0.5, 0.5], target]])))
  arguments = (jnp.zeros((1, 2), jnp.int32),) * 2

  def loss(logits):
    found = logprobs.token_statistics(
      lambda head, h: h @ head, jnp.eye(5), logits, *arguments, temperature=1.0,
      statistics=('stored_kl',), stored=stored,
    )  # fmt: skip
    return losses.stored_distillation(found['stored_kl'])[0][0, 1]

  logits = jnp.asarray(rng.normal(size=(1, 2, 5)), jnp.float32)
  start = float(loss(logits))
  step = jax.jit(lambda x: x - jax.grad(loss)(x))
  for _ in range(300):
    logits = step(logits)
  p = np.asarray(jax.nn.softmax(logits[0, 0]))
  np.testing.assert_allclose(p[[4, 1]], target, atol=1e-3)
  assert start > 0.05 and float(loss(logits)) < 1e-5
  with pytest.raises(ValueError, match='needs stored'):
    logprobs.token_statistics(
      lambda head, h: h @ head, jnp.eye(5), logits, *arguments, temperature=1.0,
      statistics=('stored_kl',),
    )  # fmt: skip
