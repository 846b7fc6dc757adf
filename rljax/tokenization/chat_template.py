"""Chat templates: other people's code, rendered in a sandbox."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from rljax.tokenization.protocol import TokenizerError


def compile_template(template: str, today: datetime.date) -> Callable[..., str]:
  """A function from the template's variables to text; `today` is what it sees as the date."""
  import jinja2
  import jinja2.ext
  import jinja2.sandbox

  class Generation(jinja2.ext.Extension):
    """{% generation %} marks assistant text in some templates; the text is kept as it is."""

    tags = {'generation'}

    def parse(self, parser):
      next(parser.stream)
      return parser.parse_statements(('name:endgeneration',), drop_needle=True)

  def raise_exception(message: str) -> None:
    raise TokenizerError(f'the chat template refuses these messages: {message}')

  def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **kwargs) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **kwargs)

  environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=['jinja2.ext.loopcontrols', Generation]
  )
  environment.filters['tojson'] = to_json
  environment.globals['raise_exception'] = raise_exception
  environment.globals['strftime_now'] = today.strftime
  try:
    compiled = environment.from_string(template)
  except jinja2.TemplateError as error:
    raise TokenizerError(f'the chat template does not compile: {error}') from None

  def render(**variables: Any) -> str:
    try:
      return compiled.render(**variables)
    except jinja2.TemplateError as error:
      raise TokenizerError(f'the chat template fails: {error}') from None

  return render
