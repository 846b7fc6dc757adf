"""What mkdocs calls: the pages are written into the site, no file of them lies anywhere."""

from __future__ import annotations

from typing import Any

from rljax.docs import pages


def on_config(config: Any) -> Any:
  """Gives the site its menu."""
  config['nav'] = pages.navigation()
  return config


def on_files(files: Any, config: Any) -> Any:
  """Adds the pages to the files of the site."""
  from mkdocs.structure.files import File

  for name, text in pages.pages().items():
    files.append(File.generated(config, name, content=text))
  return files
