"""Policies of other runs as sources of completions."""

from __future__ import annotations

import dataclasses

import jax

from rljax import hosts
from rljax.build_model import build_model
from rljax.rollouts import Generator, SamplerProgram
from rljax.rollouts.sources import Source

FIRST_INDEX = 1 << 20  # of the teacher's samples: other noise than that of any member of a group


def saved_policy(
  generate: Generator, mesh: jax.sharding.Mesh, *, path: str, temperature: float = 1.0
) -> Source:
  """One completion of each prompt by a policy that does not learn; none where it did not end.

  Args:
    generate: the sampler of the stage; the teacher has its tokenizer and its limits.
    mesh: of the devices.
    path: a work directory of rljax, an HF directory or hf://owner/name.
    temperature: of its samples; 0 = greedy.

  Raises:
    FileNotFoundError, ValueError: there is no such policy, its vocabulary is too small, or there
      are several processes, of which each would know its own completions only.
  """
  if hosts.count() > 1:
    raise ValueError(
      f'sources: stages.teachers.saved_policy (path={path!r}) is for one process, and there are '
      f'{hosts.count()}; write its completions to a file and name that by rollouts.sources.records'
    )
  node = {'name': 'models.decoder', 'path': path}
  model = build_model(node, generate.tokenizer, mesh, jax.random.key(0), value_head=False)
  teacher = dataclasses.replace(
    generate, program=SamplerProgram(model.policy, mesh), samples=1, temperature=temperature
  )

  def source(prompts, draw_ids):
    found = []
    for first in range(0, len(prompts), teacher.prompts):  # a buffer may hold more than a rollout
      some = slice(first, first + teacher.prompts)
      requests = teacher.requests(prompts[some], draw_ids[some], first_sample_index=FIRST_INDEX)
      _, completions, *_ = teacher.sample(model.params, requests, prompts[some])
      found += [None if c.truncated else c.text for c in completions]
    return found

  return source
