"""The site: what it lists is what is public; its pages are those of the README; it builds."""

import importlib
import importlib.util
import re
import subprocess
import sys
import types
import warnings

import pytest

from rljax import renamed
from rljax.docs import markup, pages, public_api

PUBLIC = public_api.public()


def exported(package):
  """Name → object of what a package exports, as Python has it."""
  module = importlib.import_module(f'rljax.{package}')
  if package in public_api.MODULES:
    own = [getattr(module, name) for name in vars(module) if not name.startswith('_')]
    return {x.__name__: x for x in own if getattr(x, '__module__', '') == module.__name__}
  chosen = getattr(module, '__all__', None)
  if chosen is None:
    files = {path.stem for path in public_api.PACKAGE.joinpath(*package.split('.')).iterdir()}
    chosen = [
      name
      for name, value in vars(module).items()
      if not name.startswith('_') and not (isinstance(value, types.ModuleType) and name in files)
    ]
  return {name: getattr(module, name) for name in chosen}


@pytest.mark.parametrize('package', public_api.packages())
def test_what_is_public_is_what_the_packages_export(package):
  places = {id(value): name for name, value in exported(package).items()}
  for entry in PUBLIC:
    if entry.package == package:
      module, _, name = entry.path.rpartition('.')
      value = getattr(importlib.import_module(module), name)
      assert places.pop(id(value)) == name
      shortest = importlib.import_module(f'rljax.{entry.name.rpartition(".")[0]}')
      assert getattr(shortest, name) is value
  inner = {entry.name for entry in PUBLIC if entry.package.startswith(f'{package}.')}
  assert all(f'{package}.{name}' in inner for name in places.values()), places


def test_the_reference_lists_exactly_what_is_public():
  listed = []
  for package in public_api.packages():
    listed += re.findall(r'^::: (\S+)$', pages.reference(package), re.MULTILINE)
  assert sorted(listed) == sorted(entry.path for entry in PUBLIC)
  assert len(set(listed)) == len(listed) > 400
  assert all(f'({package}.md)' in pages.pages()['reference/index.md'] for package in packages())


def packages():
  return {entry.package for entry in PUBLIC}


def test_every_section_of_the_readme_is_a_page_and_links_lead_to_pages():
  found = pages.pages()
  readme = (pages.ROOT / 'README.md').read_text()
  titles = pages.HEADING.findall(readme)
  guides = [name for name in found if name.startswith('guides/')]
  assert len(guides) == len(titles) and all(f'({name})' in found['index.md'] for name in guides)
  assert sum(len(found[name]) for name in guides) > 0.9 * len(readme)
  for name, text in found.items():
    for target in re.findall(r'\]\(([^)#\s]+\.md)[)#]', pages.FENCES.sub('', text)):
      where = re.sub(r'[^/]+/\.\./', '', f'{name.rpartition("/")[0]}/{target}').lstrip('/')
      assert where in found, f'{name} leads to {target}'
  menu = str(pages.navigation())
  assert all(repr(name) in menu for name in found)


def test_the_page_of_the_notebooks_lists_all_of_them():
  listed = set(re.findall(r'colab/(\w+\.ipynb)', pages.pages()['notebooks.md']))
  assert listed == {path.name for path in (pages.ROOT / 'colab').glob('*.ipynb')}


def test_docstrings_become_markdown():
  text = markup.markdown(
    'w_t·1[c ≤ w_t ≤ C].\n\nWith a_b and `x_y`.\n\nArgs:\n  max_w: C*, see <x>.\n\n'
    'Examples:\n  >>> f(x_y)\n  [1]\n\nSource: A *paper*,\n  page 1.\nFidelity: faithful'
  )
  assert text.startswith('<div class="equation" markdown="span">w\\_t·1\\[c ≤ w\\_t ≤ C\\].</div>')
  assert 'With a\\_b and `x_y`.' in text and '  max_w: C\\*, see \\<x\\>.' in text
  assert '  >>> f(x_y)\n  [1]' in text
  assert '**Source:** A \\*paper\\*, page 1.' in text and '**Fidelity:** faithful' in text


def test_an_old_name_warns_for_one_version():
  module = types.ModuleType('rljax.losses')
  module.__getattr__ = renamed.names('rljax.losses', {'ppo': ('clipped_surrogate', '0.4')})
  with pytest.warns(FutureWarning, match=r'clipped_surrogate since version 0\.4; .* with .* 0\.5'):
    old = module.ppo
  losses = importlib.import_module('rljax.losses')
  assert old is losses.clipped_surrogate
  moved = renamed.names('rljax.losses', {'mean': ('weighting.token_mean', '1.9.2')})
  with pytest.warns(FutureWarning, match=r'rljax\.weighting\.token_mean .* version 1\.10'):
    assert moved('mean').__name__ == 'token_mean'
  with pytest.raises(AttributeError, match=r"'rljax\.losses' has no attribute 'dpoo'"):
    _ = module.dpoo
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    _ = losses.clipped_surrogate


def test_the_site_builds_without_a_warning(tmp_path):
  if not all(map(importlib.util.find_spec, ('mkdocs', 'mkdocstrings'))):
    pytest.skip("needs pip install '.[docs]'")
  command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-f', 'rljax/docs/mkdocs.yml']
  answer = subprocess.run(
    [*command, '-d', str(tmp_path)], cwd=pages.ROOT, capture_output=True, text=True
  )
  assert answer.returncode == 0, answer.stderr[-4000:]
  for entry in PUBLIC:
    page = (tmp_path / 'reference' / f'{entry.package}.html').read_text()
    assert f'id="{entry.path}"' in page and f'id="rljax.{entry.name}"' in page
  losses = (tmp_path / 'reference' / 'losses.html').read_text()
  assert 'max(−A·r, −A·clip(r, 1−clip_low, 1+clip_high))' in losses
