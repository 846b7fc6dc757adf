"""`python -m rljax <verb>`, the same as `rljax <verb>`."""

import os
import sys


def main() -> None:
  """The entry point of the command line."""
  # Here, because reward workers import this module again.
  from rljax import cli, interruptions, redaction

  sys.excepthook = redaction.excepthook
  status = cli.main(sys.argv[1:])
  if status in (interruptions.STATUS, interruptions.AT_ONCE):
    # A signal may have stopped jax within a compilation, and then the interpreter's end crashes.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
  sys.exit(status)


if __name__ == '__main__':
  main()
