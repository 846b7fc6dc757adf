"""Where a completion gives its answer: the order of the markers, and what stands last."""

import pytest

from rljax.rewards import answers


@pytest.mark.parametrize(
  ('completion', 'text', 'marker'),
  [
    ('so \\boxed{5}.', '5', 'boxed'),
    ('\\boxed{1} then \\boxed{\\frac{1}{2}} and 3', '\\frac{1}{2}', 'boxed'),
    ('\\boxed{5} #### 6\nThe answer is 7 <answer>8</answer> 9', '5', 'boxed'),
    ('\\boxed{\\{1, 2\\}}', '\\{1, 2\\}', 'boxed'),
    ('\\boxed{\\left\\{ x \\right\\}', 'no', ''),
    ('\\fbox{5}', '5', 'boxed'),
    ('\\boxed{5} and \\boxed{6', '5', 'boxed'),
    ('\\boxed{} #### 6', '6', 'hashes'),
    ('#### 6\nThe answer is 7 <answer>8</answer>', '6', 'hashes'),
    ('#### 1\n#### 2\nI hope it helps', '2', 'hashes'),
    ('#### Step 1\nThe answer is 12', '12', 'phrase'),
    ('#### 1. Set up\nThe answer is 12', '12', 'phrase'),
    ('#### **12**\nDone', '12', 'hashes'),
    ('words\n#### Evelyn', 'Evelyn', 'hashes'),
    ('####\n42', '42', 'hashes'),
    ('The answer is 7. I hope that it helps.\n<answer>8</answer>', '7', 'phrase'),
    ('The answer is 3.5. Done', '3.5', 'phrase'),
    ('The answer is 1. No: the answer is 2.', '2', 'phrase'),
    ('**Answer:** 42', '42', 'phrase'),
    ('**Final Answer**: 42', '42', 'phrase'),
    ('The answer is:\n\n$$42$$', '$$42$$', 'phrase'),
    ('The final answer is **Mrs. Hilt**.', 'Mrs. Hilt', 'phrase'),
    ('The answers are 1 and 2.', '1 and 2', 'phrase'),
    ('<answer>The answer = 5</answer>', '5', 'phrase'),
    ('<answer> 1 </answer> <Answer>\n2\n</ANSWER> 3', '2', 'tag'),
    ('<answer>1</answer> <answer>2', '1', 'tag'),
    ('</answer> 5', 'no', ''),
    ('<think>\\boxed{1} no</think> so 2', 'no', ''),
    ('<think>the answer is 1</think> The answer is 2', '2', 'phrase'),
    ('the answer is near', 'near', 'phrase'),
    ('answers vary: 5', 'no', ''),
    ('5', 'no', ''),
    ('', 'no', ''),
  ],
)
def test_the_marked_answer(completion, text, marker):
  expected = answers.Extracted(text, marker) if marker else None
  assert answers.extract(completion) == expected


@pytest.mark.parametrize(
  ('completion', 'kind', 'text'),
  [
    ('first 3, then 4 apples', 'number', '4'),
    ('so 3/4 of it', 'number', '3/4'),
    ('\\frac{3}{4}', 'number', '3/4'),
    ('<think>3</think> none', 'number', None),
    ('Rome (A) or Paris (B)', 'choice', 'B'),
    ('B. A man said so', 'choice', 'B'),
    ('ABBA', 'choice', None),
    ('so $x = 1$\nand $y = \\pi$ holds', 'expression', 'y = \\pi'),
    ('so \\(x\\) and \\(2\\pi\\).', 'expression', '2\\pi'),
    ('words\n2\\pi\n\n', 'expression', '2\\pi'),
    ('it costs \\$5\nEvelyn.', 'text', 'Evelyn'),
    ('', 'text', None),
  ],
)
def test_what_stands_last(completion, kind, text):
  found = answers.extract_unmarked(completion, kind, 'ABCD')
  assert found == (None if text is None else answers.Extracted(text, ''))


@pytest.mark.parametrize(
  'piece',
  ['\\boxed{', '<answer>', '</answer>', '#### ', 'answer: ', 'answer\n', '{', '$', '\\(', '9,'],
)
def test_long_noise_has_no_answer_that_was_not_there(piece):
  noise = piece * (20_000 // len(piece))
  found = answers.extract(f'{noise}\n\\boxed{{5}}')
  assert found.text == '5' or piece == '\\boxed{'
  for kind in ('number', 'choice', 'expression'):
    answers.extract_unmarked(noise, kind, 'ABCD')
