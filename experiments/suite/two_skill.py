"""Two skills: digits to choose, which RL trains, and words to reverse, which it may forget.

    prompt      4072b      fghi=
    completion  072        ihgf

A prompt's metadata['domain'] is 'ops' (letters a to d, partly wrong demonstrations), 'reverse', or
of the letter e, whose rule no start has been shown: 'shown' for the tenth of its training prompts
that have demonstrations, for mixtures of SFT and RL, and 'never' for all others. So a stage says by
`curriculum.domains` what it sees.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rljax.prompts import Prompt, Task
from rljax.tasks import procedural
from rljax.tasks.reverse_text import canonical
from rljax.tasks.words import candidates
from suite import ops

LETTERS = 'fghijklm'
ALPHABET = 'abcde0123456789' + LETTERS + '='
KNOWN, NEW = 'abcd', 'e'
WORD = 4  # letters
# Of training and of held-out prompts, so that the first so many hold all.
TURNS = ('ops', 'ops', 'reverse', 'ops', 'ops', 'never', 'ops', 'ops', 'reverse')


def two_skill(
  *,
  shares: Sequence[float] = (0.2, 0.4, 0.6, 0.8),
  shown: float = 0.1,
  num_train: int = 400_000,
  num_test: int = 1152,
  test_fraction: float = 0.1,
  seed: int = 0,
) -> Task:
  """Both skills and the letter e; the tokenizer is `tokenization.characters(alphabet=ALPHABET)`.

  A row of digits is on one side of the split whatever its letter, a word is where its reverse is.

  Args:
    shares: of wrong demonstrations of the letters a to d, as fractions.
    shown: share of the prompts of the letter e that have a demonstration, a right one.
    num_train: training prompts; a problem comes up more than once, with other demonstrations.
    num_test: held-out problems, all different: six in nine 'ops', two 'reverse', one 'never'.
    test_fraction: share of all problems that is held out, as a fraction.
    seed: of the problems, not of the split.

  Raises:
    ValueError: impossible shares, or too few problems.
  """
  if len(shares) != len(KNOWN) or not all(0 <= share <= 1 for share in (*shares, shown)):
    raise ValueError(
      f'two_skill: shares={tuple(shares)}, shown={shown}; needs {len(KNOWN)} fractions, and one'
    )
  below = procedural.threshold(test_fraction)
  wrong = dict(zip(KNOWN, shares))

  def make(split: str, index: int, prompt_id: int) -> Prompt:
    draw, domain = procedural.Draw('two_skill', seed, split, index), TURNS[prompt_id % len(TURNS)]

    def on_its_side(propose, problem):
      def accepted(draw):
        said = propose(draw)
        held_out = procedural.mix(map(ord, problem(said))) < below
        return said if held_out == (split == 'test') else None

      complaint = f'two_skill: no problem found for {split}; change test_fraction'
      return procedural.first_accepted(draw, accepted, complaint)

    if domain == 'reverse':
      word = on_its_side(_word, canonical)
      return _prompt(f'{word}=', word[::-1], prompt_id, domain, canonical(word))
    digits = on_its_side(_digits, str)
    letter = NEW if domain == 'never' else draw.one_of(KNOWN)
    if letter == NEW and split == 'train' and draw.below(1_000_000) < shown * 1_000_000:
      domain = 'shown'
    return _prompt(f'{digits}{letter}', ops.apply(letter, digits), prompt_id, domain, digits)

  return Task(
    name='two_skill',
    train=procedural.Generated(num_train, lambda i: make('train', i, i)),
    test=procedural.Distinct(
      num_test,
      functools.partial(make, 'test'),
      lambda prompt: prompt.text,
      f'two_skill: too few problems for num_test={num_test}; raise test_fraction',
    ),
    reward='suite.two_skill.reward',
    demonstrate=functools.partial(demonstrate, wrong=wrong),
    candidates=candidates,
    well_formed=well_formed,
    license='Apache-2.0 (generated)',
  )


def reward(completion: str, answer: str, metadata: dict[str, str]) -> dict[str, float]:
  """1 if the completion is the answer, else 0.

  Returns:
    'reward', and once more as the component 'ops', 'reverse' or 'never' of the prompt's domain.
  """
  right = float(completion == answer)
  domain = metadata['domain']
  return {'reward': right, 'never' if domain == 'shown' else domain: right}


def demonstrate(prompt: Prompt, *, wrong: dict[str, float]) -> str:
  """The answer, or with the share of its letter a wrong one; a function of the prompt.

  Raises:
    ValueError: the prompt is of those that have no demonstration.
  """
  domain = prompt.metadata['domain']
  if domain == 'never':
    raise ValueError(
      f'two_skill: {prompt.text} has no demonstration; a stage that learns from demonstrations has '
      "curriculum.domains with by='domain' and shares of 'ops', 'reverse' or 'shown'"
    )
  draw = procedural.Draw('two_skill', 'demonstrate', prompt.prompt_id, prompt.text)
  is_wrong = domain == 'ops' and draw.below(1_000_000) < wrong[prompt.text[-1]] * 1_000_000
  if not is_wrong:
    return prompt.answer
  return procedural.first_accepted(
    draw, lambda draw: _other(prompt.answer, draw), f'two_skill: nothing is wrong for {prompt.text}'
  )


def well_formed(completion: str) -> bool:
  """Three digits, or a word."""
  is_word = len(completion) == WORD and set(completion) <= set(LETTERS)
  return ops.well_formed(completion) or is_word


def _other(answer: str, draw: procedural.Draw) -> str | None:
  said = ''.join(str(draw.below(10)) for _ in answer)
  return said if said != answer else None


def _word(draw: procedural.Draw) -> str:
  return ''.join(draw.one_of(LETTERS) for _ in range(WORD))


def _digits(draw: procedural.Draw) -> str:
  return ''.join(draw.shuffled('0123456789')[:4])


def _prompt(text: str, answer: str, prompt_id: int, domain: str, problem: str) -> Prompt:
  metadata = {'domain': domain, 'problem': problem}
  return Prompt(text=text, prompt_id=prompt_id, answer=answer, metadata=metadata)
