"""`python -m edjax`, the command `edjax`, and launch.py."""

import signal


def main() -> None:
  """Runs the command line; Ctrl-C ends its imports without a traceback."""
  heard = signal.getsignal(signal.SIGINT) != signal.SIG_IGN
  if heard:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
  from edjax import command_line

  if heard:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  command_line.main()


if __name__ == '__main__':
  main()
