"""Requests: shapes that do not depend on the data, and errors that name the knob."""

import numpy as np
import pytest

from rljax.sampling import filters_in_use, make_requests


def ask(prompts, **more):
  given = dict(
    samples_per_prompt=2, draw_ids=range(len(prompts)), max_prompt=3, max_new_tokens=4,
    temperature=1.0, stop_ids=[9],
  )  # fmt: skip
  return make_requests(prompts, **(given | more))


def test_rows_of_a_prompt_stand_together_and_padding_is_unused():
  requests = ask(
    [[1, 2], [3]], num_prompts=3, draw_ids=[2**32 - 1, 7], group_ids=[5, 6], prompt_ids=[50, 60],
    first_sample_index=4, temperature=[0, 0.5, 1, 2], stop_ids=[9, 8], top_k=3, policy_step=12,
  )  # fmt: skip
  assert requests.prompts.tolist() == [[1, 2, 0], [3, 0, 0], [0, 0, 0]]
  assert requests.prompt_length.tolist() == [2, 1, 0]
  assert requests.prompt_row.tolist() == [0, 0, 1, 1, 2, 2]
  assert requests.group_ids.tolist() == [5, 5, 6, 6, -1, -1]
  assert requests.draw_ids.tolist() == [2**32 - 1, 2**32 - 1, 7, 7, 0, 0]
  assert requests.draw_ids.dtype == np.uint32
  assert requests.prompt_ids.tolist() == [50, 50, 60, 60, -1, -1]
  assert requests.sample_index.tolist() == [4, 5, 4, 5, 4, 5]
  assert requests.temperature.tolist() == [0, 0.5, 1, 2, 1, 1]
  assert requests.max_new_tokens.tolist() == [4, 4, 4, 4, 0, 0]
  assert requests.top_k.tolist() == [3, 3, 3, 3, 0, 0]
  assert requests.stop_ids.tolist() == [[9, 8]] * 6
  assert requests.prefix is None and requests.prefix_length is None
  assert requests.policy_step == 12


def test_prefixes_and_no_stop_ids():
  requests = ask([[1]], prefixes=[[], [4, 5]], stop_ids=[], num_prompts=2, max_prefix=3, length=8)
  assert requests.prefix.tolist() == [[0, 0, 0], [4, 5, 0], [0, 0, 0], [0, 0, 0]]
  assert requests.prefix_length.tolist() == [0, 2, 0, 0]
  assert requests.stop_ids.tolist() == [[-1]] * 4
  assert ask([[1]], prefixes=[[], []]).prefix.shape == (2, 1)


@pytest.mark.parametrize(
  ('prompts', 'more', 'message'),
  [
    ([[1], [1, 2, 3, 4]], dict(prompt_ids=[7, 31]), 'prompt 31 has 4 tokens.*max_prompt=3'),
    ([[1], []], {}, 'prompt 1 has no tokens'),
    ([[1, 2, 3]], dict(length=6), 'prompt 0: 3 tokens .*max_new_tokens=4 .* length=6'),
    (
      [[1, 2]],
      dict(length=7, prefixes=[[1], [1, 2]]),
      'prompt 0: 4 tokens .*max_new_tokens=4 .* length=7',
    ),
    ([[1], [2]], dict(num_prompts=1), '2 prompts are more than num_prompts=1'),
    ([[1], [2]], dict(draw_ids=[4, 4]), 'draw_ids holds 4 more than once'),
    ([[1]], dict(draw_ids=[-1]), 'draw_ids must lie'),
    ([[1]], dict(draw_ids=[2**32]), 'draw_ids must lie'),
    ([[1]], dict(draw_ids=[1, 2]), 'draw_ids has shape'),
    ([[1]], dict(group_ids=[-1]), 'group_ids must not be negative'),
    ([[1]], dict(temperature=[1.0] * 3), 'temperature has shape'),
    ([[1]], dict(prefixes=[[1]]), '1 prefixes for 2 samples'),
    (
      [[1]],
      dict(prefixes=[[], [1, 2]], max_prefix=1),
      'the prefix for prompt 0 has 2 tokens, more than max_prefix=1',
    ),
  ],
)
def test_errors_name_the_prompt_and_the_knob(prompts, more, message):
  with pytest.raises(ValueError, match=message):
    ask(prompts, **more)


def test_filters_in_use():
  assert filters_in_use() == ()
  assert filters_in_use(top_k=5) == ('top_k',)
  assert filters_in_use(top_p=0.9, min_p=0.1) == ('top_p', 'min_p')
