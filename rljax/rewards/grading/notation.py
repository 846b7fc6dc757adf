"""LaTeX and Unicode → one plain notation, in which answers are read and compared as text.

What remains of LaTeX are commands with a meaning (`\\frac`, `\\sqrt`, `\\pi` …) and braces that
group. `⦃ ⦄` are the braces of a set, `«…»` is text inside a formula, `¶` ends the row of a matrix,
`∞` and `∪` are themselves.
"""

from __future__ import annotations

import re

_SYMBOLS = str.maketrans(
  {
    '−': '-', '–': '-', '—': '-', '×': '*', '·': '*', '⋅': '*', '∙': '*', '÷': '/', '⁄': '/',
    '∕': '/', 'π': '\\pi ', '√': '\\sqrt ', '±': '\\pm ', '°': '^\\circ ', '≤': '\\le ',
    '≥': '\\ge ', '∈': '\\in ', '²': '^2', '³': '^3', '½': ' 1/2', '⅓': ' 1/3', '⅔': ' 2/3',
    '¼': ' 1/4', '¾': ' 3/4', '\u00a0': ' ', '\u2009': ' ', '\u202f': ' ', '’': "'", '“': '"',
    '”': '"', '∣': '|', '⟨': '(', '⟩': ')', '∅': '⦃⦄',
  }
)  # fmt: skip
_COMMANDS = {
  '\\infty': '∞', '\\cup': '∪', '\\cdot': '*', '\\times': '*', '\\div': '/', '\\leq': '\\le ',
  '\\geq': '\\ge ', '\\leqslant': '\\le ', '\\geqslant': '\\ge ', '\\lt': '<', '\\gt': '>',
  '\\dfrac': '\\frac', '\\tfrac': '\\frac', '\\cfrac': '\\frac', '\\dbinom': '\\binom',
  '\\tbinom': '\\binom', '\\lbrace': '⦃', '\\rbrace': '⦄', '\\langle': '(', '\\rangle': ')',
  '\\lbrack': '[', '\\rbrack': ']', '\\degree': '^\\circ ', '\\approx': '≈', '\\neg': '-',
  '\\lvert': '|', '\\rvert': '|', '\\mid': '|', '\\varnothing': '⦃⦄', '\\emptyset': '⦃⦄',
}  # fmt: skip
# Commands that only space, size or set a formula.
_SILENT = re.compile(
  r'\\(?:left|right|bigl|bigr|Bigl|Bigr|big|Big|bigg|Bigg|displaystyle|textstyle|limits|quad|qquad'
  r'|boldsymbol|mathbf|mathit|bf|it|rm|hspace|phantom|!)(?![A-Za-z])'
)
_TEXT = re.compile(r'\\(?:text|mbox|textbf|textit|textrm|mathrm|operatorname|hbox)\s*\{([^{}]*)\}')
_DEGREES = re.compile(r'\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\})')
_ROW_END = re.compile(r'\\\\(?:\s*\[[0-9.]+[a-z]{2}\])?')
_ANGLE = re.compile(r'\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])')
_IN_DEGREES = re.compile(r'([0-9.]+)\s*« degrees»')
_INFINITY = re.compile(r'(?<![A-Za-z\\])(?:infinity|infty|inf)(?![A-Za-z])')
_NAMES = re.compile(r'\\[A-Za-z]+')


def plain(text: str) -> str:
  """An answer in the plain notation; formatting, spacing and dollar signs of mathematics removed.

  A dollar sign that is money stays.
  """
  text = _ROW_END.sub('¶', text.strip().strip('`').translate(_SYMBOLS))
  text = re.sub(r'\\!\s*', '', text).replace('{,}', ',')
  text = text.replace('\\{', '⦃').replace('\\}', '⦄').replace('\\%', '%').replace('\\#', '#')
  text = re.sub(r'\\[,;: ]|~', ' ', text)
  text = _without_delimiters(text).replace('\\$', '$')
  text = _SILENT.sub(' ', text)
  text = _TEXT.sub(r'«\1»', text)
  text = _NAMES.sub(lambda found: _COMMANDS.get(found[0], found[0]), text)
  text = _INFINITY.sub('∞', text).replace(':=', '=')
  text = _DEGREES.sub('« degrees»', text)
  text = ' '.join(text.split())
  return text[:-1].rstrip() if text.endswith(('.', ',', ';')) else text


def latex(text: str) -> str:
  """A plain notation as LaTeX again; degrees inside of a function become radians."""
  if _ANGLE.search(text):
    text = _IN_DEGREES.sub(r'{\\frac{\1\\pi }{180}}', text)
  for mark, command in (
    ('⦃', '\\{'), ('⦄', '\\}'), ('«', '\\text{'), ('»', '}'), ('∞', '\\infty '), ('∪', '\\cup '),
    ('**', '^'), ('*', '\\cdot '), ('%', '\\%'), ('¶', '\\\\'),
  ):  # fmt: skip
    text = text.replace(mark, command)
  return text


def nesting(text: str) -> int | None:
  """How many brackets stand in one another; None if a brace that groups has no partner."""
  depth = deepest = braces = 0
  for character in text:
    if character in '([{⦃':
      depth += 1
      deepest = max(deepest, depth)
    elif character in ')]}⦄':
      depth -= 1
    braces += (character == '{') - (character == '}')
    if braces < 0:
      return None
  return None if braces else deepest


def squeezed(text: str) -> str:
  """Without spaces, but those between digits: `1 4/5` is not `14/5`."""
  return re.sub(r'(?<![0-9]) | (?![0-9])', '', text)


def split(text: str, separators: str) -> list[str]:
  """The pieces of `text` between separators (single characters) that stand in no brackets."""
  pieces, depth, start = [], 0, 0
  for place, character in enumerate(text):
    if character in '({[⦃«':
      depth += 1
    elif character in ')}]⦄»':
      depth -= 1
    elif character in separators and depth <= 0:
      pieces.append(text[start:place].strip())
      start = place + 1
  return [*pieces, text[start:].strip()]


def enclosed(text: str) -> bool:
  """Whether the bracket that opens `text` is closed by its last character."""
  depth = 0
  for place, character in enumerate(text):
    depth += (character in '([⦃') - (character in ')]⦄')
    if depth <= 0:
      return place == len(text) - 1 and len(text) > 1
  return False


def _without_delimiters(text: str) -> str:
  text = re.sub(r'\\[()\[\]]|\$\$', ' ', text).strip()
  # `$5$` is mathematics, `$5` is money; `\\$` is money in any case.
  if len(re.findall(r'(?<!\\)\$', text)) >= 2:
    text = re.sub(r'(?<!\\)\$', ' ', text)
  return text
