"""Prompts with constraints that a program can check, in the format of IFEval (2311.07911)."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from rljax import binding, data
from rljax.prompts import Prompt, Task
from rljax.rewards import constraints
from rljax.tasks import procedural

# Name in the files → (kind here, names of its arguments there → here, arguments that are fixed).
PUBLISHED: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
  'keywords:existence': ('keywords', {'keywords': 'keywords'}, {}),
  'keywords:forbidden_words': ('forbidden', {'forbidden_words': 'keywords'}, {}),
  'keywords:frequency': (
    'keyword_count', {'keyword': 'keyword', 'frequency': 'number', 'relation': 'relation'}, {}
  ),
  'keywords:letter_frequency': (
    'letter_count',
    {'letter': 'letter', 'let_frequency': 'number', 'let_relation': 'relation'},
    {},
  ),
  'language:response_language': ('language', {'language': 'language'}, {}),
  'length_constraints:number_sentences': (
    'sentences', {'num_sentences': 'number', 'relation': 'relation'}, {}
  ),
  'length_constraints:number_paragraphs': (
    'paragraphs', {'num_paragraphs': 'number'}, {'divider': '***'}
  ),
  'length_constraints:number_words': (
    'words', {'num_words': 'number', 'relation': 'relation'}, {}
  ),
  'length_constraints:nth_paragraph_first_word': (
    'paragraph_start',
    {'num_paragraphs': 'number', 'nth_paragraph': 'place', 'first_word': 'word'},
    {},
  ),
  'detectable_content:number_placeholders': ('placeholders', {'num_placeholders': 'number'}, {}),
  'detectable_content:postscript': ('postscript', {'postscript_marker': 'marker'}, {}),
  'detectable_format:number_bullet_lists': ('bullets', {'num_bullets': 'number'}, {}),
  'detectable_format:constrained_response': (
    'choice', {}, {'options': [f'my answer is {word}.' for word in ('yes', 'no', 'maybe')]}
  ),
  'detectable_format:number_highlighted_sections': (
    'highlights', {'num_highlights': 'number'}, {}
  ),
  'detectable_format:multiple_sections': (
    'sections', {'section_spliter': 'mark', 'num_sections': 'number'}, {}
  ),
  'detectable_format:json_format': ('json', {}, {}),
  'detectable_format:title': ('title', {}, {}),
  'combination:two_responses': ('two_responses', {}, {}),
  'combination:repeat_prompt': ('repeat_prompt', {'prompt_to_repeat': 'prompt'}, {}),
  'startend:end_checker': ('ends_with', {'end_phrase': 'phrase'}, {}),
  'startend:quotation': ('quoted', {}, {}),
  'change_case:capital_word_frequency': (
    'capital_words', {'capital_frequency': 'number', 'capital_relation': 'relation'}, {}
  ),
  'change_case:english_capital': ('upper', {}, {}),
  'change_case:english_lowercase': ('lower', {}, {}),
  'punctuation:no_comma': ('no_commas', {}, {}),
}


def ifeval(
  *,
  path: str | None = None,
  test_fraction: float = 1.0,
  lenient: bool = False,
  partial: bool = False,
  chat: bool = False,
) -> Task:
  """Prompts from a file of the published format; an evaluation set, so all are held out at first.

  A record has 'key', 'prompt', 'instruction_id_list' (names such as 'punctuation:no_comma') and
  'kwargs' (a dict for each name; null values are left out). Written after the published
  description of the format, not checked against the original file. The checks are those of
  `rewards.constraint_kinds`, so numbers are near published ones and not the same.

  Args:
    path: of the .jsonl file; None = ifeval/input_data.jsonl under $RLJAX_DATA.
    test_fraction: share of the prompts that is held out, as a fraction; the others are for
      training. Which, is a hash of the prompt's text.
    lenient, partial: as in `rewards.constraints.follow`.
    chat: True = prompts are a user message for the tokenizer's chat template.

  Raises:
    FileNotFoundError: no data.
    ValueError: a record that cannot be read; names file and record.

  Examples:
    >>> record = {
    ...   'key': 1,
    ...   'prompt': 'Write without commas.',
    ...   'instruction_id_list': ['punctuation:no_comma'],
    ...   'kwargs': [{}],
    ... }
    >>> files.write_text('ifeval.jsonl', files.json_lines([record]))
    >>> print(tasks.ifeval(path='ifeval.jsonl').test[0].text)
    Write without commas.
  """
  file = data.data_dir() / 'ifeval' / 'input_data.jsonl' if path is None else (
    pathlib.Path(path).expanduser()
  )
  if not file.is_file():
    raise FileNotFoundError(
      f'ifeval: {file} does not exist; put the file of prompts (records with prompt, '
      'instruction_id_list and kwargs, one a line) there, or say path'
    )
  prompts = [
    _prompt(record, f'{file}, record {number}', number - 1, chat)
    for number, record in enumerate(data.JsonLines(file), 1)
  ]
  below = procedural.threshold(test_fraction)
  held_out = [procedural.mix(map(ord, prompt.text)) < below for prompt in prompts]
  hyper = {'lenient': lenient, 'partial': partial}
  return Task(
    name='ifeval',
    train=[prompt for prompt, test in zip(prompts, held_out) if not test],
    test=[prompt for prompt, test in zip(prompts, held_out) if test],
    reward={'name': 'rewards.constraints.follow', **hyper},
    license='Apache-2.0',
  )


def _prompt(record: Mapping[str, Any], where: str, index: int, chat: bool) -> Prompt:
  try:
    text = record['prompt']
    names, arguments = record['instruction_id_list'], record['kwargs']
  except KeyError as error:
    raise ValueError(f'{where}: has no {error}') from None
  if len(names) != len(arguments):
    raise ValueError(f'{where}: {len(names)} instructions, {len(arguments)} kwargs')
  found = [_constraint(name, given or {}, where) for name, given in zip(names, arguments)]
  constraints.validate(found, where)
  return Prompt(
    text=f'{text}\n',
    prompt_id=index,
    messages=({'role': 'user', 'content': text},) if chat else None,
    metadata={'constraints': found, 'key': record.get('key')},
  )


def _constraint(name: str, given: Mapping[str, Any], where: str) -> dict[str, Any]:
  if name not in PUBLISHED:
    raise ValueError(f'{where}: unknown instruction {name!r}{binding.near(name, PUBLISHED)}')
  kind, names, fixed = PUBLISHED[name]
  given = {key: value for key, value in given.items() if value is not None}
  unknown = sorted(set(given) - set(names))
  missing = sorted(set(names) - set(given))
  if unknown or missing:
    raise ValueError(
      f'{where}: {name} takes {", ".join(names) or "nothing"}; '
      f'{"unknown" if unknown else "missing"}: {", ".join(unknown or missing)}'
    )
  return {'kind': kind, **fixed, **{names[key]: value for key, value in given.items()}}
