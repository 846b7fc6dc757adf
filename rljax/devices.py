"""Does jax see the accelerator that is in the machine? Asked before anything is compiled."""

from __future__ import annotations

import glob
import os
import pathlib
import shutil
import subprocess
from importlib import metadata

from rljax.data import data_dir

# PCI vendor of Google, and the devices of that vendor that are TPUs (v2/v3, v4, v5p, v5e, v6e, v7).
_GOOGLE = '0x1ae0'
_TPUS = ('0x0027', '0x0056', '0x005e', '0x0062', '0x0063', '0x006f', '0x0076')


# It excludes operations whose bits differ from run to run, and kernels chosen by a stopwatch.
_REPEATABLE = '--xla_gpu_deterministic_ops'


class DeviceError(RuntimeError):
  """An accelerator is there, but jax does not use it as it must; the message says what to do."""


def hardware() -> str:
  """The accelerators in this machine, whatever is installed: 'gpu', 'tpu' or ''."""
  if glob.glob('/dev/nvidia[0-9]*') or _nvidia_smi_lists():
    return 'gpu'
  if glob.glob('/dev/accel[0-9]*') or _google_chips():
    return 'tpu'
  return ''


def _nvidia_smi_lists() -> bool:
  """True if the driver's tool names a GPU: within WSL2 there are no /dev/nvidia files."""
  tool = shutil.which('nvidia-smi') or shutil.which('/usr/lib/wsl/lib/nvidia-smi')
  if not tool:
    return False
  try:
    answer = subprocess.run([tool, '-L'], capture_output=True, text=True, timeout=20)
  except (OSError, subprocess.TimeoutExpired):
    return False
  return answer.returncode == 0 and 'GPU ' in answer.stdout


def _google_chips() -> bool:
  """True if a TPU is on the PCI bus and handed to this machine or container (/dev/vfio/<n>)."""
  if not glob.glob('/dev/vfio/[0-9]*'):
    return False
  for device in pathlib.Path('/sys/bus/pci/devices').glob('*'):
    try:
      vendor, chip = ((device / name).read_text().strip() for name in ('vendor', 'device'))
    except OSError:
      continue
    if vendor == _GOOGLE and chip in _TPUS:
      return True
  return False


def check_accelerator(*, allow_cpu: bool = False) -> str:
  """Makes sure that a GPU or TPU of this machine is used.

  Args:
    allow_cpu: True = the CPU will do, whatever is there. A CPU in JAX_PLATFORMS counts as that too.

  Returns:
    One line: the devices that jax sees.

  Raises:
    DeviceError: there is an accelerator, but jax sees CPUs only; says how to install.
  """
  import jax

  chosen = os.environ.get('JAX_PLATFORMS', '')
  there = hardware()
  try:
    devices = jax.devices()
  except RuntimeError as error:  # JAX_PLATFORMS names something that does not start
    raise DeviceError(f'jax finds no device: {str(error).splitlines()[0]}') from error
  platform = devices[0].platform
  here = f' on {jax.process_count()} hosts' if jax.process_count() > 1 else ''
  line = f'{len(devices)} × {devices[0].device_kind} ({platform}){here}, jax {jax.__version__}'
  if platform != 'cpu':
    return line
  if not there:
    return f'{line}; no accelerator in this machine'
  if allow_cpu or chosen == 'cpu':
    why = '--allow_cpu' if allow_cpu else 'JAX_PLATFORMS=cpu'
    return f'{line}; the {there.upper()} of this machine stays idle ({why})'
  raise DeviceError(_unseen(there))


def warnings() -> list[str]:
  """A line where an accelerator of this machine stays idle though nobody chose the CPU.

  For runs that begin without the command line, which stops there.
  """
  import jax

  if jax.default_backend() != 'cpu' or os.environ.get('JAX_PLATFORMS') == 'cpu':
    return []
  there = hardware()
  return [f'warning: {_unseen(there)}'] if there else []


def make_deterministic() -> None:
  """Lets programs give the same bits each time, on a GPU too, by a flag of XLA.

  On CPUs and TPUs programs do so anyway. On a GPU sums by atomic additions have no order, and the
  kernel of a product is the one that was the fastest when the program was compiled.

  Raises:
    DeviceError: jax has begun to use the GPU without the flag, or the flag says the opposite.

  Source: openxla/xla, pull request 12520 (`xla_gpu_deterministic_ops`).
  """
  if hardware() != 'gpu':
    return
  flags = os.environ.get('XLA_FLAGS', '')
  said = [flag for flag in flags.split() if flag.partition('=')[0] == _REPEATABLE]
  if said and said[-1].partition('=')[2].lower() in ('', 'true', '1'):
    return
  import jax
  from jax._src import xla_bridge  # there is no public way to ask whether it has begun

  began = xla_bridge.backends_are_initialized()
  if began and jax.default_backend() != 'gpu':
    return
  if said or began:
    why = f'XLA_FLAGS says {said[-1]}' if said else 'jax has begun to use the GPU without the flag'
    raise DeviceError(
      f'config.deterministic: {why}; set XLA_FLAGS={_REPEATABLE}=true before jax is used first'
    )
  os.environ['XLA_FLAGS'] = f'{flags} {_REPEATABLE}=true'.strip()


def keep_compiled_programs() -> None:
  """Keeps compiled programs on disk between runs, in $RLJAX_DATA (default ~/.cache/rljax), unless
  jax's own settings say where.
  """
  import jax

  if jax.config.jax_compilation_cache_dir is None:
    jax.config.update('jax_compilation_cache_dir', str(data_dir() / 'compiled'))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.3)


def _unseen(there: str) -> str:
  return f'this machine has a {there.upper()}, but jax sees only CPUs. {_remedy(there)}'


def _remedy(there: str) -> str:
  version = metadata.version('jax')
  if there == 'tpu':
    extras = ['tpu']
  else:
    extras = ['cuda13', 'cuda12']
  installed = [
    d.metadata['Name']
    for d in metadata.distributions()
    if (d.metadata['Name'] or '').startswith(('jax-cuda', 'libtpu'))
  ]
  commands = ' or '.join(f'pip install "jax[{extra}]=={version}"' for extra in extras)
  if there == 'gpu':
    commands += ' (drivers before 580: cuda12)'
  state = f'{", ".join(sorted(installed))} is installed and does not start' if installed else ''
  return (
    f'{state or "jax is installed without support for it"}: run {commands}, restart Python and '
    f'look at python -c "import jax; jax.devices()"; or go on with --allow_cpu.'
  )
