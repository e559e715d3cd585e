"""Signals that ask a process to stop: SIGTERM, and SIGINT of Ctrl-C.

Schedulers and cloud machines announce by SIGTERM that they stop.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

# Exit status of a process that has saved and left: EX_TEMPFAIL of sysexits.h,
# 'try again'.
EXIT_STATUS = 75


class PreemptedError(Exception):
  """Work was saved and left because of a signal."""


_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Set by the handler in the main thread; the other threads read it too.
_ASKED = threading.Event()
# Of a thread: the function by which it is told to stop otherwise.
_THREAD = threading.local()


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
  """Notices signals to stop during the block instead of ending the process.

  A second one of the same kind does what it does outside of the block. Only the
  main thread of a process can notice signals; other threads are told of those
  that it noticed. While a program compiles, a signal is noticed at its end.
  Signals that the process ignores (Ctrl-C in the background) stay ignored.

  Yields:
    A function that returns whether there has been a signal; in a thread that
    is `told` to stop by another sign, whether there has been this.
  """
  if threading.current_thread() is not threading.main_thread():
    yield getattr(_THREAD, 'told', _ASKED.is_set)
    return

  def notice(number, frame):
    del frame
    _ASKED.set()
    signal.signal(number, before[number])
    if number == signal.SIGINT:  # the stream may be in the middle of a write
      os.write(2, b'\nCtrl-C: saves and stops; once more stops at once\n')

  before = {
    number: signal.signal(number, notice)
    for number in _SIGNALS
    if signal.getsignal(number) != signal.SIG_IGN
  }
  try:
    yield _ASKED.is_set
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
    _ASKED.clear()


@contextlib.contextmanager
def told(asked: Callable[[], bool]) -> Iterator[None]:
  """Lets `noticed` go by another sign than signals in the block and thread.

  Args:
    asked: () -> whether to stop.
  """
  _THREAD.told = asked
  try:
    yield
  finally:
    del _THREAD.told
