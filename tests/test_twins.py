"""Token twins: prompts of the task, rewards equal to the host's on the text of the same tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rljax import tasks, tokenization
from rljax.prompts import Completion
from rljax.rewards import Scorer
from rljax.tasks import procedural, token_words
from rljax.tasks.reverse_text import canonical
from rljax.tasks.steps import ALPHABET
from rljax.tasks.words import LETTERS

WORDS = tokenization.characters(alphabet=LETTERS + '>')
STEPS = tokenization.characters(alphabet=ALPHABET)
TASKS = [
  (tasks.sorting(), WORDS),
  (tasks.reverse_text(), WORDS),
  (tasks.countdown(), STEPS),
  (tasks.arithmetic(), STEPS),
]


def variants(rng, right, tokenizer):
  """Token ids: right, with ids that decoding drops, one changed, one missing, one more, nothing."""
  at = int(rng.integers(len(right)))
  yield right
  yield [*right[:at], 0, *right[at:], 1]
  yield [*right[:at], int(rng.integers(tokenizer.vocab_size)), *right[at + 1 :]]
  yield right[:at] + right[at + 1 :]
  yield [*right, right[at]]
  yield [] if at % 2 else [0]


@pytest.mark.parametrize(('task', 'tokenizer'), TASKS, ids=lambda x: getattr(x, 'name', ''))
def test_rewards_are_those_of_the_text(task, tokenizer):
  rng, rows = np.random.default_rng(0), []
  for prompt in task.train[:60]:
    for ids in variants(rng, tokenizer.encode(task.demonstrate(prompt)), tokenizer):
      rows.append((prompt, ids))
  width = max(len(ids) for _, ids in rows)
  filler = rng.integers(0, tokenizer.vocab_size, (len(rows), width)).astype(np.int32)
  for line, (_, ids) in zip(filler, rows):
    line[: len(ids)] = ids
  answers = [task.twin.answer(prompt) for prompt, _ in rows]
  answer = jax.tree.map(lambda *leaves: np.stack(leaves), *answers)
  length = np.array([len(ids) for _, ids in rows], np.int32)
  found = jax.jit(task.twin.reward)(filler, length, answer)
  found = found if isinstance(found, dict) else {'reward': found}

  texts = [
    Completion(prompt=p, tokens=tuple(ids), text=tokenizer.decode(ids), truncated=False)
    for p, ids in rows
  ]
  with Scorer(task.reward, workers=0) as scorer:
    scores = scorer.score(texts)
  for name, wanted in {'reward': scores.rewards, **scores.components}.items():
    np.testing.assert_allclose(found.pop(name), wanted, rtol=1e-6)
  assert not found and 120 <= scores.rewards.sum() <= 180


@pytest.mark.parametrize(('task', 'tokenizer'), TASKS[:2], ids=lambda x: getattr(x, 'name', ''))
def test_prompts_are_training_problems(task, tokenizer):
  draw = jax.jit(lambda key: task.twin.prompts(key, 512))
  tokens, length, answer = jax.tree.map(np.asarray, draw(jax.random.key(0)))
  below, sizes = procedural.threshold(0.1), set()
  for line, end, word, size in zip(tokens, length, answer['word'], answer['size']):
    text = tokenizer.decode(line[:end])
    given, right = text.removesuffix('>'), tokenizer.decode(word)
    sizes.add(len(given))
    assert text.endswith('>') and not line[end:].any() and len(right) == size == len(given)
    if task.name == 'sorting':
      assert right == ''.join(sorted(given))
      assert procedural.mix(map(ord, right)) >= below
    else:
      assert right == given[::-1]
      assert procedural.mix(map(ord, canonical(given))) >= below
  assert sizes == ({8} if task.name == 'sorting' else set(range(4, 11)))


def test_a_word_that_is_its_own_reverse():
  codes = jnp.array([[97, 98, 97, 0], [97, 98, 99, 0], [99, 98, 97, 5]])
  mixed = token_words.reversible_mix(codes, jnp.array([3, 3, 3]))
  assert mixed.tolist() == [procedural.mix(map(ord, w)) for w in ('aba', 'abc', 'abc')]
