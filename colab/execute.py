"""Runs the notebooks of this folder from top to bottom on a CPU and writes them with their outputs.

  JAX_PLATFORMS=cpu python colab/execute.py                    # all of them
  JAX_PLATFORMS=cpu python colab/execute.py losses_tour scale  # these
  python colab/execute.py --links                              # only the badges, for another URL

Each runs in an empty folder with an empty cache of compiled programs. Its first cell then says how
long that took, and README.md beside it lists all. Where pyproject.toml has a repository URL the
first cell begins with a badge that opens the notebook in Colab, and the installation is from there.
What is written holds no paths, no names of machines and no progress bars: `noise` refuses them.
"""

from __future__ import annotations

import argparse
import getpass
import os
import pathlib
import re
import socket
import tempfile
import time
import tomllib

import nbclient
import nbformat

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent / 'pyproject.toml'
ORDER = (
  'quickstart', 'losses_tour', 'own_task', 'bring_a_model', 'paper_claim', 'scale', 'own_loop',
)  # fmt: skip
NO_URL = '<repository URL>'
SOURCE = re.compile(r"'git\+[^']*'")
BADGE = re.compile(r'\A\[!\[Open in Colab\][^\n]*\n\n')
RUNTIME = re.compile(r'^\*Runtime: .*\*$', re.MULTILINE)
# A path of three parts or more, or one from a place where people keep their files.
PATH = re.compile(r'(?<![\w.:/<])(?:/(?:home|root|tmp|usr|opt|var|mnt|Users)\b|(?:/[\w.+-]+){3,})')
PROGRESS = re.compile(r'\r|\d+%\|| \d+(?:\.\d+)?(?:it/s|s/it)|[█▏▎▍▌▋▊▉]{2}')
TABLE = '<!-- notebooks: written by execute.py -->'


def read(name: str) -> nbformat.NotebookNode:
  """A notebook of this folder."""
  return nbformat.read(str(HERE / f'{name}.ipynb'), as_version=4)


def repository_url(project: pathlib.Path = PROJECT) -> str:
  """The URL in [project.urls] under Repository, Source or Homepage; '' where there is none."""
  urls = tomllib.loads(project.read_text())['project'].get('urls', {})
  found = next((urls[name] for name in ('Repository', 'Source', 'Homepage') if name in urls), '')
  return found.removesuffix('/').removesuffix('.git')


def badge(url: str, name: str) -> str:
  """Markdown of the badge of a notebook and an empty line; '' without a URL on GitHub."""
  if not url.startswith('https://github.com/'):
    return ''
  place = f'{url.removeprefix("https://github.com/")}/blob/main/colab/{name}.ipynb'
  picture = 'https://colab.research.google.com/assets/colab-badge.svg'
  return f'[![Open in Colab]({picture})](https://colab.research.google.com/github/{place})\n\n'


def link(notebook: nbformat.NotebookNode, name: str, url: str) -> None:
  """Writes the badge and the place to install from."""
  first, install = notebook.cells[0], cell(notebook, 'install')
  first.source = badge(url, name) + BADGE.sub('', first.source)
  install.source = SOURCE.sub(f"'git+{url or NO_URL}'", install.source)


def cell(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
  """The cell with this id."""
  return next(one for one in notebook.cells if one['id'] == name)


def execute(notebook: nbformat.NotebookNode, folder: pathlib.Path, *, timeout: int = 3600) -> float:
  """Runs all cells in `folder`, in a process with one CPU device and a cache of its own.

  Returns:
    Seconds.

  Raises:
    nbclient.exceptions.CellExecutionError: a cell raised.
  """
  flags = [x for x in os.environ.get('XLA_FLAGS', '').split() if 'device_count' not in x]
  own = {
    'RLJAX_DATA': str(folder / 'data'), 'IPYTHONDIR': str(folder / 'ipython'),
    'XLA_FLAGS': ' '.join(flags), 'JAX_PLATFORMS': 'cpu',
    'PYTHONWARNINGS': 'ignore:IProgress not found',  # there are no widgets, and no progress bars
  }  # fmt: skip
  client = nbclient.NotebookClient(
    notebook,
    timeout=timeout,
    record_timing=False,
    resources={'metadata': {'path': str(folder)}},
  )
  started = time.perf_counter()
  client.execute(env={**os.environ, **own})
  seconds = time.perf_counter() - started
  for one in notebook.cells:
    if one.cell_type == 'code':
      one.outputs = joined(one.outputs)
  return seconds


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
  """One output for what was printed in pieces; pictures between the pieces stay there."""
  found = []
  for output in outputs:
    name = output.get('name')
    if name and found and found[-1].get('name') == name:
      found[-1].text += output.text
    else:
      found.append(output)
  return found


def noise(notebook: nbformat.NotebookNode) -> list[str]:
  """What must not stand in committed outputs: the cell, and what was found in it."""
  found = []
  names = {socket.gethostname(), getpass.getuser()} - {'', 'root', 'localhost'}
  words = re.compile('|'.join(rf'\b{re.escape(name)}\b' for name in names) or r'(?!)')
  for one in notebook.cells:
    for output in one.get('outputs', []):
      if output.get('name') == 'stderr' or output.output_type == 'error':
        found.append(f'{one["id"]}: {output.get("text", output.get("evalue"))[:300]!r} on stderr')
      for text in texts(output):
        for kind in (PATH, PROGRESS, words):
          found += [f'{one["id"]}: {text[max(0, m.start() - 40) : m.end() + 40]!r}'
                    for m in kind.finditer(text)]  # fmt: skip
  return found


def texts(output: nbformat.NotebookNode) -> list[str]:
  """What an output says in words; pictures have none."""
  data = output.get('data', {})
  return [output.get('text', ''), *(v for k, v in data.items() if not k.startswith('image/'))]


def runtime(seconds: float, load: float) -> str:
  """The line of the first cell.

  Args:
    seconds: measured.
    load: processes that wanted a core at the end, on average over the last minutes.
  """
  took = 'less than a minute' if seconds < 60 else f'{seconds / 60:.0f} min'
  cores = os.cpu_count()
  busy = f', {load:.0f} jobs at once on them' if load > cores + 1 else ''
  return f'*Runtime: {took} on {cores} CPU cores (measured{busy}). GPU, TPU: not measured.*'


def table() -> str:
  """The lines of README.md on the notebooks: what each shows and how long it takes."""
  lines = ['| notebook | what it shows | runtime on a CPU |', '|---|---|---|']
  for name in ORDER:
    first = read(name).cells[0].source
    title = re.search(r'^# (.*)$', first, re.MULTILINE)[1]
    took = re.search(r'^\*Runtime: (.*?)\. GPU', first, re.MULTILINE)[1]
    lines.append(f'| [{name}]({name}.ipynb) | {title} | {took} |')
  return '\n'.join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*', metavar='NAME', help=f'of {", ".join(ORDER)}')
  parser.add_argument('--links', action='store_true', help='run nothing, renew badges and sources')
  args = parser.parse_args()
  if unknown := set(args.names) - set(ORDER):
    parser.error(f'there is no notebook {", ".join(sorted(unknown))}')
  for name in args.names or ORDER:
    path = HERE / f'{name}.ipynb'
    notebook = read(name)
    if not args.links:
      with tempfile.TemporaryDirectory() as folder:
        seconds = execute(notebook, pathlib.Path(folder))
      if found := noise(notebook):
        raise SystemExit('\n'.join([f'{path.name} is not written; its outputs hold:', *found]))
      first = notebook.cells[0]
      first.source = RUNTIME.sub(runtime(seconds, os.getloadavg()[2]), first.source)
      notebook.metadata.pop('language_info', None)
      print(f'{name}: {seconds:.0f} s', flush=True)
    link(notebook, name, repository_url())
    nbformat.write(notebook, path)
  readme = HERE / 'README.md'
  above = readme.read_text().split(TABLE)[0]
  readme.write_text(f'{above}{TABLE}\n{table()}\n')


if __name__ == '__main__':
  main()
