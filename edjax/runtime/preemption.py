"""SIGTERM, by which schedulers and cloud machines announce that they stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

# Exit status of a process that has saved and left: EX_TEMPFAIL of sysexits.h,
# 'try again'.
EXIT_STATUS = 75


class PreemptedError(Exception):
  """Work was saved and left because of SIGTERM."""


# Set by the handler in the main thread; the other threads read it too.
_ASKED = threading.Event()


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
  """Notices a SIGTERM during the block instead of ending the process.

  A second one ends it at once. Only the main thread of a process can notice
  signals; other threads are told of those that it noticed.

  Yields:
    A function that returns whether there has been a SIGTERM.
  """
  if threading.current_thread() is not threading.main_thread():
    yield _ASKED.is_set
    return

  def notice(number, frame):
    del number, frame
    _ASKED.set()
    signal.signal(signal.SIGTERM, before)

  before = signal.signal(signal.SIGTERM, notice)
  try:
    yield _ASKED.is_set
  finally:
    signal.signal(signal.SIGTERM, before)
    _ASKED.clear()
