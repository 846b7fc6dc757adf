"""What a run did: in the terminal, as a page, its samples one after the other."""

from rljax.report.browse import paged, show_samples
from rljax.report.cells import sparkline
from rljax.report.page import write_page
from rljax.report.runs import RunRecord, read_run
from rljax.report.terminal import compare, follow, show

__all__ = [
  'RunRecord',
  'compare',
  'follow',
  'paged',
  'read_run',
  'show',
  'show_samples',
  'sparkline',
  'write_page',
]
