"""Second attempts after feedback: RLTF."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import binding, config, losses, tasks, tokenization
from rljax.advantages import own_baseline
from rljax.metrics.names import check_name
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scores
from rljax.rollouts import Generator, SamplerProgram, feedback_turn
from rljax.rollouts.likelihood import row_logprobs
from rljax.sharding import make_mesh
from rljax.tasks.words import right_beginning

TOKENIZER = tokenization.characters(alphabet='ab!=>')
POLICY = decoder(
  vocab_size=TOKENIZER.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
)
GENERATE = Generator(
  SamplerProgram(POLICY, make_mesh(devices=jax.devices()[:1])), TOKENIZER, lambda r: r, prompts=3,
  samples=4, max_prompt=3, max_new_tokens=6, seed=3,
)  # fmt: skip
PARAMS = jax.tree.map(lambda x: 3 * x, POLICY.init(jax.random.key(0)))
PROMPTS = [
  Prompt(text=t, prompt_id=i, answer='ab', tokens=tuple(TOKENIZER.encode(t)))
  for i, t in enumerate(('a>', 'ab>'))
]


def score(completions):
  assert all(c.prompt in PROMPTS for c in completions)
  rewards = np.array([len(c.tokens) for c in completions], np.float32)
  return Scores(rewards, {'index': np.array([c.sample_index for c in completions])}, 0, 0, {})


def turn(**changes):
  hyper = dict(feedback='tasks.words.right_beginning', speech=('!', '='), max_feedback=5)
  return feedback_turn(PARAMS, PROMPTS, [7, 8], GENERATE, score, 5, **{**hyper, **changes})


@functools.cache
def found():
  return turn()


def logprobs_of(tokens):
  """Of one text alone."""
  return row_logprobs(PARAMS, GENERATE, [tokens], GENERATE.max_length)[0]


def test_rltf_learns_second_attempts_behind_the_bare_prompt():
  rollout, said = found().rollout, found().completions
  external, feedback = found().extras['is_external'], found().extras['feedback_mask']
  np.testing.assert_array_equal(external, [0, 0, 1, 1] * 2 + [0] * 4)
  np.testing.assert_array_equal(rollout.group_ids, [0] * 4 + [1] * 4 + [-1] * 4)
  np.testing.assert_array_equal(rollout.draw_ids[:8], [7] * 4 + [8] * 4)
  np.testing.assert_array_equal(found().scores.components['index'], [0, 1, 2, 3] * 2)
  assert feedback[:8][~external[:8]].any() and not feedback[external].any()
  for row, completion in enumerate(said):
    prompt, own = completion.prompt, list(completion.tokens)
    end = int(rollout.num_tokens[row])
    text = rollout.tokens[row, :end].tolist()
    assert text[: len(prompt.tokens) + len(own)] == [*prompt.tokens, *own]
    heard = TOKENIZER.encode(f'!{right_beginning(prompt, completion.text)}=')
    rest = text[len(prompt.tokens) + len(own) :]
    assert rest == ([] if external[row] else heard[: 9 - len(prompt.tokens) - len(own)])
    assert np.flatnonzero(feedback[row]).tolist() == list(range(end - len(rest), end))
    actions = np.flatnonzero(rollout.action_mask[row]).tolist()
    assert actions == list(range(len(prompt.tokens), end))
    expected = logprobs_of(text)[actions]
    np.testing.assert_allclose(rollout.policy_logprobs[row, actions], expected, atol=1e-4)
    assert found().scores.rewards[row] == len(own)


def test_second_attempts_of_rltf_are_drawn_after_feedback_on_the_first(monkeypatch):
  asked = []

  class Recorded(Generator):
    def sample(self, params, requests, prompts):
      asked.append([p.tokens for p in prompts])
      return super().sample(params, requests, prompts)

  fields = {f.name: getattr(GENERATE, f.name) for f in dataclasses.fields(GENERATE)}
  monkeypatch.setattr(f'{__name__}.GENERATE', Recorded(**fields))
  again = turn()
  assert asked[0] == [p.tokens for p in PROMPTS]
  first = [again.completions[i] for i in (0, 1, 4, 5)]
  for tokens, attempt in zip(asked[1], first, strict=True):
    heard = TOKENIZER.encode(f'!{right_beginning(attempt.prompt, attempt.text)}=')
    assert tokens == (*attempt.prompt.tokens, *attempt.tokens, *heard)
  assert [c.tokens for c in again.completions] == [c.tokens for c in found().completions]


def test_what_rltf_counts_and_refuses(monkeypatch):
  metrics, rewards = found().metrics, found().scores.rewards
  assert all(check_name(name) for name in metrics)
  assert metrics['method/feedback_turn/second'] == rewards[[2, 3, 6, 7]].mean()
  assert metrics['rollout/tokens'] == sum(len(c.tokens) for c in found().completions)
  first = [found().completions[i] for i in (0, 1, 4, 5)]
  assert metrics['rollout/length_mean'] == np.mean([len(c.tokens) for c in first])
  with pytest.raises(ValueError, match='max_feedback is 2'):
    turn(max_feedback=2)
  odd = dataclasses.replace(GENERATE, samples=3)
  monkeypatch.setattr(f'{__name__}.GENERATE', odd)
  with pytest.raises(ValueError, match='samples=3 is odd'):
    turn()


def test_of_no_rows_there_are_no_log_probs():
  assert row_logprobs(PARAMS, GENERATE, [], GENERATE.max_length) == []


def test_rltf_pays_second_attempts_over_first_ones_though_they_are_all_alike():
  settings = config.load(str(config.find('papers/rltf'))).rl
  assert binding.bind(settings.advantage).function is own_baseline
  rewards, groups = jnp.array([0.0, 1.0, 1.0, 1.0]), jnp.zeros(4, jnp.int32)
  external = jnp.array([False, False, True, True])
  np.testing.assert_allclose(own_baseline(rewards, groups, external), [-1, 1, 0.5, 0.5])
  places = jnp.zeros((4, 2), jnp.int32), jnp.arange(4, dtype=jnp.int32)[:, None]
  advantages = jnp.broadcast_to(own_baseline(rewards, groups, external)[:, None], (4, 2))
  feedback = jnp.zeros((4, 2), bool).at[0, 1].set(True)
  bound = binding.bind({**settings.loss, 'distill_coef': 0.5})
  assert bound.function is losses.rltf

  def loss(x):
    arrays = dict(zip(('segment_ids', 'sample_ids'), places), logprobs=x, advantages=advantages)
    return jnp.sum(bound({**arrays, 'is_external': external, 'feedback_mask': feedback})[0])

  found = jax.grad(loss)(jnp.full((4, 2), -1.0))
  np.testing.assert_allclose(found, [[1, -0.1], [-1, -1], [-0.25, -0.25], [-0.25, -0.25]])


def test_demonstrations_show_what_feedback_means():
  node = config.load(str(config.find('papers/rltf'))).task
  node.task.update(num_train=200, num_test=5)
  task, plain = binding.bind(node)({}), binding.bind(node.task)({})
  shown = [task.demonstrate(prompt) for prompt in task.train]
  two = [x for x in shown if not isinstance(x, str)]
  assert 60 < len(two) < 140
  for prompt, parts in zip(plain.train, shown):
    if isinstance(parts, str):
      assert parts == prompt.answer
      continue
    (wrong, _), (stop, _), (heard, _), (right, is_said) = parts
    assert wrong != right == prompt.answer and stop is None and is_said
    assert heard == f'!{right_beginning(prompt, wrong)}=' and right.startswith(heard[1:-1])
    assert [is_said for _, is_said in parts] == [False, False, False, True]
  with pytest.raises(ValueError, match='products has no demonstrations, or no candidates'):
    tasks.with_feedback(task=dict(name='tasks.products'), feedback='x.y')
