"""The pages of the site as Markdown: sections of README.md, notebooks, a page for each package."""

from __future__ import annotations

import pathlib
import re
import tomllib

from rljax import known_errors
from rljax.docs import public_api

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADING = re.compile(r'^## (.+)$', re.MULTILINE)
FENCES = re.compile(r'(^```(?s:.*?)^```$|^    .*$)', re.MULTILINE)
NAMED = re.compile(r'`([a-z_]+(?:\.[A-Za-z_]\w*)+)`')


def pages() -> dict[str, str]:
  """Path of a page ('guides/quick-start.md') -> its Markdown, in the order of the menu."""
  found = guides()
  found['reference/index.md'] = _index()
  for package in public_api.packages():
    found[f'reference/{package}.md'] = reference(package)
  found['notebooks.md'] = notebooks()
  found['errors.md'] = known_errors.page()
  found['changes.md'] = _linked((ROOT / 'CHANGELOG.md').read_text(), 'changes.md', {})
  return found


def navigation() -> list[dict]:
  """The menu of the site, in mkdocs' form."""
  names = list(pages())
  guide_pages = [name for name in names if name.startswith('guides/')]
  return [
    {'Home': 'index.md'},
    {'Guides': guide_pages},
    {'Notebooks': 'notebooks.md'},
    {'Reference': [name for name in names if name.startswith('reference/')]},
    {'Errors you may meet': 'errors.md'},
    {'Changes': 'changes.md'},
  ]


def guides() -> dict[str, str]:
  """README.md, a page for each of its sections; what stands before the first is the front page."""
  pieces = HEADING.split((ROOT / 'README.md').read_text())
  titles, texts = pieces[1::2], pieces[2::2]
  places = {_slug(title): f'guides/{_slug(title)}.md' for title in titles}
  found = {'index.md': pieces[0]}
  for title, text in zip(titles, texts):
    found[places[_slug(title)]] = f'# {title}\n{text}'
  found = {name: _linked(text, name, places) for name, text in found.items()}
  contents = '\n'.join(f'- [{title}]({places[_slug(title)]})' for title in titles)
  more = (
    '- [Notebooks](notebooks.md)\n- [Errors you may meet](errors.md)\n'
    '- [Reference](reference/index.md)'
  )
  found['index.md'] += f'\n{contents}\n{more}\n'
  return found


def reference(package: str) -> str:
  """The page of a package: its docstring, then every public name with what its docstring says."""
  lines = [f'# rljax.{package}', '', public_api.summary(package), '']
  for entry in public_api.public():
    if entry.package == package:
      lines += [
        f'<a id="rljax.{entry.name}"></a>',
        '',
        f'::: {entry.path}',
        '    options:',
        f"      heading: '{entry.name}'",
        f"      toc_label: '{entry.name.rsplit('.')[-1]}'",
        '',
      ]
  return '\n'.join(lines)


def notebooks() -> str:
  """The page of the notebooks: colab/README.md, its links from the top of the repository."""
  text = (ROOT / 'colab' / 'README.md').read_text()
  return _linked(re.sub(r'\]\((?!https?:)', '](colab/', text), 'notebooks.md', {})


def _index() -> str:
  lines = [
    '# Reference',
    '',
    'What is public is what the `__init__` files of the packages export, and all of it is here.',
    'In the examples `jax`, `jnp` (`jax.numpy`) and `np` (`numpy`) are imported, and the packages',
    'of rljax by their names (`from rljax import losses`); numbers are shown with four digits,',
    '`np.set_printoptions(precision=4, suppress=True)`. All of them run as tests.',
    '',
    '| package | what |',
    '|---|---|',
  ]
  for package in public_api.packages():
    first = public_api.summary(package).split('\n')[0].replace('|', '\\|')
    lines.append(f'| [rljax.{package}]({package}.md) | {first} |')
  return '\n'.join(lines)


def _linked(text: str, page: str, places: dict[str, str]) -> str:
  """Links to sections lead to their pages, links to files into the repository; names are linked."""
  up = '../' * page.count('/')
  repository = _repository()

  def link(match: re.Match) -> str:
    words, target = match[1], match[2]
    if target.startswith('#'):
      return f'[{words}]({up}{places[target[1:]]})'
    if target == 'CHANGELOG.md':
      return f'[{words}]({up}changes.md)'
    if repository:
      return f'[{words}]({repository}/blob/main/{target})'
    return f'`{target}`' if words in target else f'{words} (`{target}`)'

  names = {entry.name: entry.path for entry in public_api.public()}

  def name(match: re.Match) -> str:
    return f'[`{match[1]}`][{names[match[1]]}]' if match[1] in names else match[0]

  pieces = FENCES.split(text)
  for i in range(0, len(pieces), 2):
    linked = re.sub(r'\[([^\]]*)\]\((?!https?:)([^)]+)\)', link, pieces[i])
    pieces[i] = NAMED.sub(name, linked)
  return ''.join(pieces)


def _slug(title: str) -> str:
  return re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')


def _repository() -> str:
  """The URL of the repository, where pyproject.toml knows it."""
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  return project.get('urls', {}).get('Repository', '').rstrip('/')
