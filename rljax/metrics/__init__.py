"""Metrics: their names, writers, curves, the summary of a run, and what compiled."""

from rljax.metrics.compilations import CompileWatch
from rljax.metrics.console import duration
from rljax.metrics.curves import first_and_last, plot_curves
from rljax.metrics.memory import MemoryWatch, device_memory
from rljax.metrics.names import MetricNameError, check_name
from rljax.metrics.seeds import mean_interval, print_seeds
from rljax.metrics.sinks import METRICS, SAMPLES, SPIKES, WriterError
from rljax.metrics.summary import (
  evaluation_record,
  print_summary,
  read_summary,
  summary_rows,
  write_summary,
)
from rljax.metrics.writers import Delayed, MultiWriter, cut, make_writers, read_metrics

__all__ = [
  'METRICS',
  'SAMPLES',
  'SPIKES',
  'CompileWatch',
  'Delayed',
  'MemoryWatch',
  'MetricNameError',
  'MultiWriter',
  'WriterError',
  'check_name',
  'cut',
  'device_memory',
  'duration',
  'evaluation_record',
  'first_and_last',
  'make_writers',
  'mean_interval',
  'plot_curves',
  'print_seeds',
  'print_summary',
  'read_metrics',
  'read_summary',
  'summary_rows',
  'write_summary',
]
