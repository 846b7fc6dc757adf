"""What tasks of programming share: finding a data set on disk, and a task of its problems."""

from __future__ import annotations

import ast
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from rljax import data, files
from rljax.prompts import Prompt, Task
from rljax.rewards import programs, sandbox
from rljax.tasks import procedural

Record = dict[str, Any]


def find(name: str, path: str | None, names: Sequence[str], url: str) -> list[pathlib.Path]:
  """The files of a data set.

  Args:
    name: of the data set and of its directory under $RLJAX_DATA.
    path: a file, or a directory with some of `names`; None = that directory.
    names: of files that it may have.
    url: where to fetch it.

  Raises:
    FileNotFoundError: there is none; says how to fetch it.
  """
  place = data.data_dir() / name if path is None else pathlib.Path(path).expanduser()
  if place.is_file():
    return [place]
  found = [place / file for file in names if (place / file).is_file()]
  if not found:
    folder = place.parent if place.suffix in ('.json', '.jsonl', '.gz') else place
    raise FileNotFoundError(
      f'{name}: {place} is no file and no directory with {" or ".join(names)}; fetch it by\n'
      f'  mkdir -p {folder} && cd {folder} && curl -fLO {url}'
    )
  return found


def read(file: pathlib.Path) -> Sequence[Record]:
  """The records of a .jsonl or .jsonl.gz file, or of a .json file that holds a list."""
  if file.suffix != '.json':
    return data.JsonLines(file)
  records = files.read_json(file)
  if not isinstance(records, list):
    raise ValueError(f'{file}: {type(records).__name__}, no JSON list')
  return records


def field(record: Record, key: str, kind: type | tuple[type, ...], where: str) -> Any:
  """The value of a record.

  Raises:
    ValueError: it is absent or of another type; names file, record and key.
  """
  if key not in record:
    raise ValueError(f'{where}: has no {key!r}')
  if not isinstance(record[key], kind):
    raise ValueError(f'{where}: {key!r} is {type(record[key]).__name__}, expected {kind}')
  return record[key]


def prompts(
  records: Sequence[Record], where: str, make: Callable[[Record, str, int], Prompt]
) -> Sequence[Prompt]:
  """Prompts that are made when they are asked for: `make(record, where it stands, index)`."""
  return procedural.Generated(
    len(records), lambda i: make(records[i], f'{where}, record {i + 1}', i)
  )


def text(question: str, chat: bool) -> dict[str, Any]:
  """`text` and `messages` of a prompt."""
  messages = ({'role': 'user', 'content': question.rstrip('\n')},) if chat else None
  return {'text': question, 'messages': messages}


def fenced(code: str) -> str:
  """A block of Python in Markdown."""
  return f'```python\n{code.strip(os.linesep)}\n```\n'


def task(
  name: str,
  train: Sequence[Prompt],
  test: Sequence[Prompt],
  *,
  reward: str,
  allow: bool,
  demonstrate: Callable[[Prompt], str] | None,
  license: str,
  **limits: Any,
) -> Task:
  """A task whose reward runs programs.

  Raises:
    NotAllowedError: `allow` is not True.
  """
  sandbox.check_allowed(allow)
  return Task(
    name=name,
    train=train,
    test=test,
    reward={'name': f'rewards.programs.{reward}', 'allow': allow, **limits},
    demonstrate=demonstrate,
    well_formed=well_formed,
    license=license,
  )


def well_formed(completion: str) -> bool:
  """Whether there is a program, or the body of a function, that Python can read."""
  code = programs.extract_code(completion)
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of escapes and comparisons in the program
    return _is_python(code) or _is_python(f'def function():\n{code}')


def _is_python(code: str) -> bool:
  try:
    return bool(ast.parse(code).body)
  except (SyntaxError, ValueError, RecursionError, MemoryError):
    return False
