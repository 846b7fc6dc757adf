"""HumanEval: functions to complete, with tests (Chen et al., 2021, 2107.03374)."""

from __future__ import annotations

import pathlib

from rljax.prompts import Prompt, Task
from rljax.tasks import coding

URL = 'https://github.com/openai/human-eval/raw/master/data/HumanEval.jsonl.gz'
INSTRUCTION = 'Complete this function. Answer with one block of Python code that defines it.'


def humaneval(
  *,
  path: str | None = None,
  allow: bool = False,
  chat: bool = False,
  instruction: str = INSTRUCTION,
  partial: float = 0.0,
  cpu_seconds: int = 4,
  total_seconds: float = 20.0,
  memory_mib: int = 512,
) -> Task:
  """164 test problems; there are none to train on.

  A completion goes on where the prompt ends; one that defines the function itself stands behind the
  prompt, whose imports and helpers it may use. See `rewards.programs.unit_tests`.

  Args:
    path: HumanEval.jsonl or .jsonl.gz, or its directory; None = humaneval under $RLJAX_DATA.
    allow: True = programs of the model may run on this machine, see `rewards.sandbox`.
    chat: True = prompts are a user message: the instruction, then the function.
    instruction: with `chat`.
    partial, cpu_seconds, total_seconds, memory_mib: of the reward.

  Raises:
    FileNotFoundError: no data; says how to fetch it.
    NotAllowedError: `allow` is not True; says what the sandbox contains here.
    ValueError: a record lacks a field; names file and record.

  Examples:
    >>> try:
    ...   tasks.humaneval(path='nothing', allow=True)  # programs of the model run in a sandbox
    ... except FileNotFoundError as error:
    ...   print(str(error).split(';')[0])
    humaneval: nothing is no file and no directory with HumanEval.jsonl.gz or HumanEval.jsonl
  """
  file = coding.find('humaneval', path, ('HumanEval.jsonl.gz', 'HumanEval.jsonl'), URL)[0]

  def prompt(record: coding.Record, where: str, index: int) -> Prompt:
    names = ('task_id', 'prompt', 'entry_point', 'canonical_solution', 'test')
    given = {name: coding.field(record, name, str, where) for name in names}
    beginning, function = given['prompt'], given['entry_point']
    question = f'{instruction}\n\n{coding.fenced(beginning)}' if chat else beginning
    return Prompt(
      **coding.text(question, chat),
      prompt_id=index,
      answer=(given['test'], f'check({function})'),
      metadata={
        'preamble': beginning,
        'entry_point': function,
        'solution': given['canonical_solution'],
        'task_id': given['task_id'],
      },
    )

  return coding.task(
    'humaneval',
    (),
    coding.prompts(coding.read(pathlib.Path(file)), str(file), prompt),
    reward='unit_tests',
    allow=allow,
    demonstrate=demonstrate,
    license='MIT',
    partial=partial,
    cpu_seconds=cpu_seconds,
    total_seconds=total_seconds,
    memory_mib=memory_mib,
  )


def demonstrate(prompt: Prompt) -> str:
  """The authors' solution: what goes on behind the prompt, or a block that answers a message."""
  solution = prompt.metadata['solution']
  if prompt.messages is None:
    return solution
  return coding.fenced(prompt.metadata['preamble'] + solution)
