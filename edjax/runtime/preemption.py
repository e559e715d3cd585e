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
# Of a thread: the function by which it is told to stop otherwise.
_THREAD = threading.local()


@contextlib.contextmanager
def noticed() -> Iterator[Callable[[], bool]]:
  """Notices a SIGTERM during the block instead of ending the process.

  A second one ends it at once. Only the main thread of a process can notice
  signals; other threads are told of those that it noticed.

  Yields:
    A function that returns whether there has been a SIGTERM; in a thread that
    is `told` to stop by another sign, whether there has been this.
  """
  if threading.current_thread() is not threading.main_thread():
    yield getattr(_THREAD, 'told', _ASKED.is_set)
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


@contextlib.contextmanager
def told(asked: Callable[[], bool]) -> Iterator[None]:
  """Lets `noticed` go by another sign than SIGTERM in the block and thread.

  Args:
    asked: () -> whether to stop.
  """
  _THREAD.told = asked
  try:
    yield
  finally:
    del _THREAD.told
