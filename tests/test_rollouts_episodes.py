"""Episodes: what is said and heard stands in the rollout as it was, whoever answers when."""

import dataclasses
import random
import threading
import time

import jax
import numpy as np
import pytest
from test_end_to_end import qwen2
from tiny_runs import run, small_machine

from rljax import metrics, tokenization
from rljax.environments import Reply
from rljax.models import decoder
from rljax.prompts import Prompt
from rljax.rewards import Scorer, episode_return
from rljax.rollouts import Generator, SamplerProgram, greedy_baseline, single_turn, streamed
from rljax.rollouts.filtered import dynamic_sampling
from rljax.rollouts.measures import experience_metrics
from rljax.sharding import make_mesh

WORDS = 'the cat sat on a mat and was glad of it, then it left'.split()


@dataclasses.dataclass
class Talk:
  """Answers with random words, late, and remembers what it heard and said."""

  stops: tuple[str, ...] = (' the', 'a', 'e')
  turn_tokens: int = 5
  max_observation: int = 12
  max_turns: int = 3
  fail_at: int = -1
  log: dict = dataclasses.field(default_factory=dict)

  def reset(self, prompt, seed):
    return TalkEpisode(self, prompt, seed)


class TalkEpisode:
  def __init__(self, talk, prompt, seed):
    self.talk, self.draw = talk, random.Random(seed)
    self.lines = talk.log.setdefault((prompt.prompt_id, seed), [])
    self.busy = threading.Lock()

  def step(self, turn):
    with self.busy:
      time.sleep(self.draw.random() * 0.02)  # answers come in any order
      if turn.number == self.talk.fail_at:
        raise OSError('the line is dead')
      said = ' '.join(self.draw.choices(WORDS, k=self.draw.randrange(6)))
      reply = Reply(
        observation=said,
        reward=float(turn.number + 1),
        done=turn.number + 1 >= self.talk.max_turns,
        counts={'answers': 1},
      )
      self.lines.append((turn, reply))
      return reply

  def outcome(self):
    return {'lines': len(self.lines)}


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
  folder = tmp_path_factory.mktemp('model')
  return tokenization.huggingface(path=str(qwen2(folder, [' '.join(WORDS) * 20])))


def generator(tokenizer, environment, shards=1, slots=0):
  policy = decoder(
    vocab_size=tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2, num_kv_heads=1, d_ff=32
  )
  mesh = make_mesh(data=shards, fsdp=1, devices=jax.devices()[:shards])
  generate = Generator(
    SamplerProgram(policy, mesh), tokenizer, lambda r: r, prompts=4, samples=3, max_prompt=4,
    max_new_tokens=30, seed=3, environment=environment, sampler=dict(slots=slots, window=2),
  )  # fmt: skip
  return generate, policy.init(jax.random.key(0))


def prompts_of(tokenizer, count=3):
  texts = [' '.join(WORDS[i : i + 2]) for i in range(count)]
  return [
    Prompt(text=t, prompt_id=10 + i, tokens=tuple(tokenizer.encode(t)[:4]))
    for i, t in enumerate(texts)
  ]


def spoken(completion):
  return float(len(completion))


def played(tokenizer, environment, **changes):
  generate, params = generator(tokenizer, environment, **changes)
  with Scorer(episode_return, workers=0) as scorer:
    return single_turn(params, prompts_of(tokenizer), [5, 6, 7], generate, scorer.score, 2)


@pytest.mark.parametrize(
  'shards, slots',
  [(1, 0), *(pytest.param(*x, marks=pytest.mark.thorough) for x in ((1, 2), (2, 4)))],
)
def test_what_is_said_and_heard_is_never_tokenized_again(tokenizer, shards, slots):
  environment = Talk()
  found = played(tokenizer, environment, shards=shards, slots=slots)
  rollout, retokenized = found.rollout, 0
  assert (rollout.group_ids >= 0).sum() == 9 == len(found.completions) == len(environment.log)
  logs = iter(environment.log.items())
  by_text = {tuple(t for turn, _ in lines for t in turn.tokens): lines for _, lines in logs}
  for row, completion, reward in zip(range(12), found.completions, found.scores.rewards):
    own = slice(int(rollout.prompt_length[row]), int(rollout.num_tokens[row]))
    tokens, said = rollout.tokens[row][own].tolist(), rollout.action_mask[row][own]
    lines = by_text[tuple(np.array(tokens)[said].tolist())]
    rebuilt, marks, numbers = [], [], []
    for number, (turn, reply) in enumerate(lines):
      rebuilt += turn.tokens
      marks += [True] * len(turn.tokens)
      last = own.start + len(rebuilt) - 1
      assert found.extras['token_rewards'][row, last] == number + 1
      heard = [] if number == len(lines) - 1 else tokenizer.encode(reply.observation)
      rebuilt += heard
      marks += [False] * len(heard)
      assert turn.text == tokenizer.decode(turn.tokens) and turn.number == number
    assert rebuilt == tokens and marks == said.tolist()
    assert not rollout.policy_logprobs[row][~rollout.action_mask[row]].any()
    assert (rollout.policy_logprobs[row][rollout.action_mask[row]] < 0).all()
    numbers = found.extras['turn_ids'][row][own]
    assert (np.diff(numbers) >= 0).all()
    retokenized += tokenizer.encode(tokenizer.decode(tokens)) != tokens
    assert completion.transcript == tokenizer.decode(tokens)
    assert completion.text == lines[-1][0].text
    assert completion.prompt.metadata['episode']['lines'] == len(lines)
    assert reward == sum(range(1, len(lines) + 1)) == found.extras['token_rewards'][row].sum()
  assert retokenized > 3  # other ids for the same text: log-probs would be those of another sample
  assert found.metrics['rollout/turns'] == np.mean([len(x) for x in environment.log.values()])
  assert found.metrics['tools/answers'] == found.metrics['rollout/turns']
  assert found.metrics['rollout/heard'] > 0


@pytest.mark.slow
def test_slots_and_shards_change_nothing(tokenizer):
  first, *others = (
    played(tokenizer, Talk(), shards=shards, slots=slots)
    for shards, slots in ((1, 0), (1, 2), (2, 4))
  )
  for other in others:
    np.testing.assert_array_equal(first.rollout.tokens, other.rollout.tokens)
    np.testing.assert_array_equal(first.rollout.action_mask, other.rollout.action_mask)
    np.testing.assert_allclose(
      first.rollout.policy_logprobs, other.rollout.policy_logprobs, atol=1e-5
    )


def test_an_answer_that_raises_ends_its_episode_without_a_reward(tokenizer):
  found = played(tokenizer, Talk(fail_at=1))
  failed = np.array([c.failure != '' for c in found.completions])
  assert failed.any() and found.scores.errors == failed.sum()
  np.testing.assert_array_equal(np.isnan(found.scores.rewards), failed)
  assert found.scores.messages == {'OSError: the line is dead': failed.sum()}
  assert found.metrics['tools/failures'] == failed.mean()


def test_an_environment_that_does_not_begin_and_an_answer_without_ids_are_failures(tokenizer):
  @dataclasses.dataclass
  class Odd(Talk):
    def reset(self, prompt, seed):
      if prompt.prompt_id == 11:
        raise OSError('no line')
      episode = super().reset(prompt, seed)
      if prompt.prompt_id == 12:
        episode.step = lambda turn: Reply(observation=object())
      return episode

  found = played(tokenizer, Odd())
  assert [c.failure[:9] for c in found.completions[3:]] == ['OSError: '] * 3 + ['TypeError'] * 3
  np.testing.assert_array_equal(np.isnan(found.scores.rewards), [False] * 3 + [True] * 6)
  assert found.metrics['tools/failures'] == pytest.approx(2 / 3)
  assert found.completions[3].prompt.metadata['episode'] == {'turns': 1, 'return': 0.0}


def test_what_is_heard_is_no_sampled_token(tokenizer):
  found = played(tokenizer, Talk())
  said = experience_metrics(found)['rollout/tokens']
  lengths = found.rollout.num_tokens - found.rollout.prompt_length
  assert said == found.rollout.action_mask.sum() < lengths[:9].sum()
  assert lengths[:9].sum() - said == round(9 * found.metrics['rollout/heard'])


def test_an_answer_that_is_too_long_is_cut_and_one_without_room_ends_the_episode(tokenizer):
  @dataclasses.dataclass
  class Long(Talk):
    def reset(self, prompt, seed):
      episode = super().reset(prompt, seed)
      episode.draw = random.Random(1)
      episode.draw.randrange = lambda n: 40
      return episode

  found = played(tokenizer, Long(max_turns=9))
  assert found.rollout.truncated[:9].all()  # no room for a second answer of twelve
  assert found.metrics['tools/cut'] > 1
  assert ((found.rollout.num_tokens - found.rollout.prompt_length)[:9] <= 30).all()
  heard = found.rollout.mask & ~found.rollout.action_mask
  assert (heard.sum(axis=1) - found.rollout.prompt_length)[:9].max() == 12


@pytest.mark.thorough
def test_other_strategies(tokenizer):
  generate, params = generator(tokenizer, Talk())
  prompts = prompts_of(tokenizer)
  with Scorer(spoken, workers=0) as scorer:
    given = (params, prompts, [5, 6, 7], generate, scorer.score)
    plain = single_turn(*given)
    kept = dynamic_sampling(*given, next_prompts=lambda n: ([], []), max_rounds=1)
    greedy = greedy_baseline(*given)
    with pytest.raises(ValueError, match=r'answers turns in rollouts\.single_turn'):
      streamed(*given)
  groups = kept.rollout.group_ids >= 0
  assert groups.sum() in (6, 9)
  rows = [plain.rollout.tokens[:9].tolist().index(x) for x in kept.rollout.tokens[groups].tolist()]
  for name in ('turn_ids', 'token_rewards'):
    np.testing.assert_array_equal(kept.extras[name][groups], plain.extras[name][rows])
    np.testing.assert_array_equal(greedy.extras[name][:9], plain.extras[name][:9])
  assert greedy.extras['baseline_rewards'].shape == (12,)


@pytest.mark.thorough
def test_a_run_with_a_tool(tmp_path):
  """Stages, metrics and evaluation of a run with an environment; what is shown is not learnt."""
  with small_machine(tmp_path / 'programs'):
    summary = run(
      tmp_path / 'w',
      task=dict(name='tasks.products', low=1, high=30, tool_share=0.5, num_test=32),
      tokenizer=dict(name='tokenization.characters', alphabet='0123456789*=[];!'),
      environment=dict(
        name='environments.tools', call=('[', ']'), result=('', ';'), error='!', max_turns=3,
        turn_tokens=6, max_observation=4,
      ),
      sft=dict(iterations=4, max_length=24, row_length=24),
      rl=dict(max_prompt=6, max_new_tokens=10),
    )  # fmt: skip
  rows = [r for r in metrics.read_metrics(tmp_path / 'w') if r['stage'] == 'rl' and r['iteration']]
  assert len(rows) == 4
  for row in rows:
    assert row['rollout/turns'] >= 1 and row['reward/errors'] == 0
  assert np.isfinite(summary['end']['greedy'])


@pytest.mark.parametrize(
  'changes', [dict(rl=dict(rollout=dict(name='rollouts.streamed'))), dict(stages=('rehearsal',))]
)
def test_what_has_no_episodes_is_refused_before_anything_is_trained(tmp_path, changes):
  refused = pytest.raises(ValueError, match='knows no environment')
  with small_machine(tmp_path / 'programs'), refused:
    run(tmp_path / 'w', environment=dict(name='environments.guessing'), **changes)
  assert not (tmp_path / 'w' / 'metrics.jsonl').exists()
