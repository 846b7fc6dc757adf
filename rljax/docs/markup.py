"""How docstrings become Markdown: unicode equations as they stand, `Source:` and such in bold."""

from __future__ import annotations

import re

# What says where a function comes from; without this they would be read as boxes with a title.
NOTES = re.compile(
  r'^(Source|Differs from the source|Fidelity):[ \n]+((?:.+\n?)(?:[ ]+.+\n?)*)', re.MULTILINE
)
SECTIONS = re.compile(r'^(Args|Returns|Raises|Yields|Attributes|Examples):$')
ENTRY = re.compile(r'^(  [\w, ]+: )(.*)$')
# What is in no sentence: an equation.
SIGNS = re.compile(r'[=≤≥<>·∝←↦−σΣΠρℓ∇√]')
SPECIAL = re.compile(r'([\\*_<>\[\]|#])')


def markdown(text: str) -> str:
  """A docstring as Markdown: what is special in Markdown and not in ours is escaped.

  Args:
    text: a docstring without its indentation.

  Returns:
    The first line as an equation if it is one; sections as they were.
  """
  text = NOTES.sub(_note, text)
  lines, section = [], ''
  for line in text.split('\n'):
    if heading := SECTIONS.match(line):
      section = heading[1]
    elif line and not line.startswith(' '):
      section = ''
    if heading or section == 'Examples':
      lines.append(line)
    elif section and (entry := ENTRY.match(line)):
      lines.append(entry[1] + _escape(entry[2]))  # names are not words
    else:
      lines.append(_escape(line))
  first, *rest = lines
  if SIGNS.search(first):
    end = rest.index('') if '' in rest else len(rest)
    whole = ' '.join([first, *(line.strip() for line in rest[:end])])
    first, rest = f'<div class="equation" markdown="span">{whole}</div>', rest[end:]
  return '\n'.join([first, *rest])


def _note(match: re.Match) -> str:
  words = ' '.join(match[2].split())
  return f'**{match[1]}:** {words}\n\n'.replace('**', '\0\0')


def _escape(line: str) -> str:
  pieces = re.split(r'(``.+?``|`[^`]*`)', line)
  escaped = (SPECIAL.sub(r'\\\1', p) if i % 2 == 0 else p for i, p in enumerate(pieces))
  return ''.join(escaped).replace('\0', '*')
