"""Readers of data files."""

from rljax.data.jsonl import JsonLines as JsonLines
from rljax.data.location import data_dir as data_dir
from rljax.data.overlap import overlap as overlap
from rljax.data.records import open_records as open_records
