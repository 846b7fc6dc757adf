"""What a part of a suite is told."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping

from speed.peer import Peer
from speed.shapes import Work


@dataclasses.dataclass(frozen=True)
class Context:
  """The run.

  Attributes:
    work: of the comparison.
    rounds: runs of each contestant that count.
    out: folder of results and of the peers' logs.
    pythons: 'torch', 'tunix' -> interpreter of the environment; '' or a missing one: those peers
      are left out.
    tiny: parts with works of their own take the smallest.
    say: prints progress.
  """

  work: Work
  rounds: int
  out: pathlib.Path
  pythons: Mapping[str, str]
  tiny: bool = False
  say: Callable[..., None] = print

  @contextlib.contextmanager
  def peers(self, wanted: Mapping[str, tuple[str, str, dict]]) -> Iterator[dict[str, Peer]]:
    """Starts the peers whose environment is there, and ends them.

    Args:
      wanted: name -> (environment, program, options of the work).
    """
    with contextlib.ExitStack() as stack:
      found = {}
      for name, (environment, program, options) in wanted.items():
        python = shutil.which(self.pythons.get(environment) or '')
        if python is None:
          self.say(f'  {name}: no environment for {environment}, left out', flush=True)
          continue
        log = self.out / 'logs' / (name.replace(' ', '_').replace(',', '') + '.log')
        found[name] = Peer(python, program, self.work, log, **options)
        stack.callback(found[name].close)
        self.say(f'  {name}: {found[name].about}', flush=True)
      yield found


def check(checks: list[dict], what: str, holds: bool, said: str) -> None:
  """Notes a check of outputs; the report shows it, held or not."""
  checks.append({'what': what, 'holds': bool(holds), 'said': said})
