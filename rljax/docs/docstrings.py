"""What the reference's generator calls: each docstring is rewritten before it is read."""

from __future__ import annotations

import griffe

from rljax.docs import markup


class Docstrings(griffe.Extension):
  """Rewrites each docstring of rljax before it is read."""

  def on_object(self, *, obj: griffe.Object, **_: object) -> None:
    if obj.docstring:
      obj.docstring.value = markup.markdown(obj.docstring.value)
