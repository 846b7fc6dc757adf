"""Part footprint: compile times and planned memory, of the comparison and of larger programs.

Nothing runs here but the compiler.
"""

from __future__ import annotations

import dataclasses

from speed import ours
from speed.context import Context
from speed.programs import made
from speed.shapes import Work

VOCABULARIES = (4096, 16384, 65536)
CACHE = {'prompts': 32, 'samples': 8, 'prompt': 64, 'completion': 1024 - 64}  # 1 GiB in float32


def measure(context: Context) -> dict:
  work, settings = context.work, next(iter(ours.STEP.values()))
  step = ours.Step('comparison', work, settings)
  programs = {'generation': step.sampler.program, 'update': step.update.program}
  context.say('  a sampler with a cache of 1 GiB', flush=True)
  large = dataclasses.replace(work, **CACHE)
  programs['generation, cache of 1 GiB'] = ours.Sampler('1 GiB', large, settings).program
  for size in VOCABULARIES[1:]:
    context.say(f'  an update with a vocabulary of {size}', flush=True)
    wide = ours.Update(f'vocabulary of {size}', with_vocabulary(work, size), settings)
    programs[f'update, vocabulary of {size}'] = wide.program
  return {
    'settings': {'rljax': repr(settings)},
    'programs': {name: program.record for name, program in programs.items()},
    'cache_mib': large.rows * large.length * work.shape.cache_bytes / 2**20,
    'chunk_mib': chunk_mib(work, settings),
    'all': dict(made),
  }


def with_vocabulary(work: Work, size: int) -> Work:
  return dataclasses.replace(work, shape=dataclasses.replace(work.shape, vocab_size=size))


def chunk_mib(work: Work, settings: ours.Settings) -> dict[str, float]:
  """MiB of the float32 logits of one chunk, by vocabulary."""
  layout = ours.make_work_layout(work, settings)
  slots = layout.rows * min(layout.row_length, settings.chunk_size)
  return {str(size): slots * size * 4 / 2**20 for size in VOCABULARIES}
