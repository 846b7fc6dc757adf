"""Readers of data files."""

from rljax.data.jsonl import JsonLines as JsonLines
from rljax.data.location import data_dir as data_dir
