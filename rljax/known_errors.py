"""Errors that a user may meet at the start of a run: how to know them, their cause, their cure.

The page of the site is made of this table, and the tests provoke each entry.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Known(NamedTuple):
  """One of them.

  Attributes:
    name: of the entry.
    pattern: regular expression that is found in the message, and in no other entry's.
    cause: what is the matter.
    cure: what to do.
  """

  name: str
  pattern: str
  cause: str
  cure: str


ERRORS = (
  Known(
    'The accelerator is not seen',
    r'jax is installed without support for it',
    'A GPU or TPU is in the machine, and the jax that is installed is the one for CPUs.',
    'Install jax for the hardware with the command of the message (the extras `cuda12`, `cuda13` '
    'and `tpu` of rljax do the same) and restart Python. `--allow_cpu` goes on with the CPU.',
  ),
  Known(
    'The plugin does not start',
    r'is installed and does not start',
    "jax's plugin for the accelerator is of another version than jax or jaxlib, or the driver is "
    'older than the plugin needs.',
    'Install jax and its plugin together, at one version, by the command of the message: `cuda13` '
    'needs a driver of version 580 or newer, `cuda12` an older one. `python -c "import jax; '
    'jax.devices()"` shows what the plugin itself says.',
  ),
  Known(
    'No device at all',
    r'jax finds no device',
    'JAX_PLATFORMS names a platform that does not start.',
    'Unset JAX_PLATFORMS, or set it to `cpu`.',
  ),
  Known(
    'Out of memory',
    r'out of memory',
    'A program needs more memory on a device than there is. The table says what stands there '
    'already: what is left is for temporaries, and `rljax plan` tells them apart.',
    'Take the knobs of the message in their order: fewer rows in a micro-batch, recompute in the '
    'backward pass, fewer slots of the sampler. Beyond that: more devices along `mesh.fsdp`, '
    "`offload.optimizer`, `sampler.cache_dtype='int8'`.",
  ),
  Known(
    'A prompt is longer than its limit',
    r'more than max_prompt=',
    'The prompt with this number has more tokens than a stage gives room for. Nothing is cut off: '
    'another question would be answered than the one that is scored.',
    'Raise `max_prompt` of the stage, or leave such prompts out of the data.',
  ),
  Known(
    'There is no chat template',
    r'has no chat template',
    'The task gives its prompts as messages (`chat=True`), and the tokenizer does not know how to '
    'write them: base models have no template.',
    'Set `config.task.chat=False`, take the instruct model, or put a `chat_template.jinja` into '
    "the model's directory.",
  ),
  Known(
    'The end of a completion is never produced',
    r'every completion was truncated',
    'No completion of the first iterations sampled a stop token before its limit.',
    'Raise `rl.max_new_tokens`; if the model never learnt to end, begin with an SFT stage or use '
    'its chat template. `rljax samples <workdir>` shows what it writes.',
  ),
  Known(
    'All rewards of a group are equal',
    r'all samples of every prompt have the same reward',
    'The advantages are then 0, and nothing is learnt: the task is too hard or too easy for the '
    'policy, or the reward does not read what the policy writes.',
    'Look at completions and rewards with `rljax samples <workdir>`. Begin with easier prompts or '
    'a better policy, draw more samples of a prompt, or mend the reward.',
  ),
  Known(
    'No completion could be scored',
    r'no completion could be scored|completions could not be scored',
    'The reward raised, ran out of its time or returned no finite number on all completions, or '
    'nearly all. Such samples leave the loss; they are not scored 0.',
    'Call the reward by hand on a completion of `rljax samples <workdir>`; `rewards.wall_seconds` '
    'and `rewards.memory_mib` are its limits.',
  ),
  Known(
    'The data are not there',
    r'does not exist; fetch it by',
    'A data set is read from local files, and they have not been fetched.',
    'Run the command of the message, or give the path of your copy as `config.task.path`.',
  ),
  Known(
    'The model is gated',
    r'accept the license at',
    'The owner of the model gives it to those who have accepted its license.',
    'Accept it on the page of the message, and set HF_TOKEN to a token of that account.',
  ),
  Known(
    'The hub cannot be reached',
    r'the hub cannot be reached',
    'The model is not in the cache, and this machine has no way to the hub.',
    'Download it where there is one, and give its directory as the name of the model.',
  ),
  Known(
    'The work directory is taken',
    r'is in use by the process',
    'Another run writes there, on this machine.',
    'Wait for it, end it, or choose another `--workdir`.',
  ),
  Known(
    'The work directory is that of another config',
    r'belongs to a run with another config',
    'A run continues with the config it began with; the message lists what differs.',
    '`--accept_config_change` goes on where the change is harmless, `--restart` moves the old run '
    'aside, or choose another `--workdir`.',
  ),
  Known(
    'The reward cannot be sent to a worker',
    r'the reward cannot be sent to a worker process',
    'Rewards run in processes of their own. A function of a notebook or script is sent by value, '
    'and something that it holds (a lock, an open file, a model) cannot be copied.',
    'Put it into a module beside you and name it, `my_reward.reward`; what it needs is then made '
    'in the worker. Or set `rewards.workers=0`, without limits on time and memory.',
  ),
  Known(
    'An axis of a weight is not divided by the mesh',
    r'does not divide; change the mesh',
    'The rules lay an axis of this weight over mesh axes whose devices do not divide it: heads '
    'over `tensor`, most often.',
    'Choose a `mesh.tensor` that divides the number of heads, or a rule for this axis '
    '(`config.rules.policy`) that leaves it whole.',
  ),
  Known(
    'The mesh does not fit the devices',
    r'does not fit \d+ devices',
    'The axes of `config.mesh` do not multiply to the number of devices.',
    'Let one axis be -1: it takes the rest.',
  ),
  Known(
    'Rows are not divided by the mesh',
    r'are no multiple of data × fsdp',
    'The rows of a micro-batch are divided over the mesh axes `data`, `fsdp` and `expert`.',
    'Make `rows` of the stage a multiple of their product.',
  ),
  Known(
    'The first process is gone',
    r'the JAX distributed service detected fatal errors',
    'Process 0 of several keeps what the others meet by. When it is killed or its machine is gone, '
    'jax ends the others at once with SIGABRT: exit status 134, and a stack of its own.',
    'Start all of them again: the run goes on from its last checkpoint. What ended process 0 is '
    'in its own output.',
  ),
  Known(
    'A hyper-parameter is not known',
    r'unknown hyper-parameter',
    'The function that the config names takes no such argument.',
    'The message lists those that it takes; `rljax configs --show=<config>` prints the rest.',
  ),
  Known(
    'A function of your own fails',
    r'fails, tried with',
    'It raised an error when the update was traced with it, before anything ran; the message has '
    'the file and the line.',
    'Mend it there. Its arrays are traced: their shapes are known and their values are not, so '
    '`if` and `float()` of a value cannot work; `jnp.where` does.',
  ),
  Known(
    'A function of your own returns another shape',
    r'an array with the value of each',
    'Such a shape would be broadcast, and the gradient would be another one than you meant. Most '
    'often a loss has been averaged.',
    'Return the value of each token (or sample) and leave averages to `weights`, `token_mean` for '
    'instance.',
  ),
)


def find(message: str) -> Known | None:
  """The entry of a message, or None.

  Args:
    message: what was said.
  """
  return next((known for known in ERRORS if re.search(known.pattern, message)), None)


def page() -> str:
  """The table as Markdown."""
  lines = ['# Errors you may meet', '']
  for known in ERRORS:
    said = known.pattern.replace(r'\d+', '…')
    lines += [f'## {known.name}', '', f'> … {said} …', '']
    lines += [f'*Cause.* {known.cause}', '', f'*Cure.* {known.cure}', '']
  return '\n'.join(lines)
