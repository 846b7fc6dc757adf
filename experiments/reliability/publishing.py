"""Results of a script here: files beside it, its table into the README."""

import pathlib
import shutil

HERE = pathlib.Path(__file__).resolve().parent


def publish(out, names, table, markers):
  """Copies files and replaces what stands between two markers of the README.

  Args:
    out: folder with the files.
    names: of the files.
    table: Markdown.
    markers: lines of the README before and behind the table.
  """
  for name in names:
    shutil.copyfile(out / name, HERE / name)
  readme = HERE / 'README.md'
  before, rest = readme.read_text().split(markers[0])
  readme.write_text(f'{before}{markers[0]}\n{table}{markers[1]}{rest.split(markers[1])[1]}')
