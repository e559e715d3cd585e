"""Waits for events, however busy the machine is."""

import time
from collections.abc import Callable

# Seconds that only a hang reaches: what is waited for takes a minute where
# cores are idle.
HANG = 3600


def until(event: Callable, lives: Callable[[], bool] = lambda: True):
  """Waits for an event as long as what it comes from lives.

  Args:
    event: () -> something that is true once it has happened.
    lives: () -> whether it can still happen.

  Returns:
    What `event` returned.

  Raises:
    AssertionError: it ended before, or hangs.
  """
  begun = time.monotonic()
  while True:
    # Before the event, which may be the last thing to happen.
    alive = lives()
    if happened := event():
      return happened
    assert alive, 'ended before what is waited for'
    assert time.monotonic() - begun < HANG, 'hangs'
    time.sleep(0.01)


def join(thread) -> None:
  """Waits for the end of a thread.

  Raises:
    AssertionError: it hangs.
  """
  thread.join(HANG)
  assert not thread.is_alive(), 'hangs'
