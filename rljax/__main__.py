"""`python -m rljax <verb>`, the same as `rljax <verb>`."""

import sys


def main() -> None:
  """The entry point of the command line."""
  from rljax import cli, redaction  # here, because reward workers import this module again

  sys.excepthook = redaction.excepthook
  sys.exit(cli.main(sys.argv[1:]))


if __name__ == '__main__':
  main()
