"""One process at a time builds; the others wait for what it makes."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from edjax.runtime import paths


@contextlib.contextmanager
def locked(path: str | os.PathLike, what: str) -> Iterator[bool]:
  """Keeps other processes and threads out; a kill lets them in.

  Where there are no locks (no fcntl, an object store, a file system without
  them, a directory that may only be read) it goes on without.

  Args:
    path: of the lock file, which is made and stays; its directory exists.
    what: is being made, for the message of those that wait.

  Yields:
    Whether the lock is held: what others left half-done may then go.
  """
  if paths.is_remote(path):
    yield False
    return
  with contextlib.ExitStack() as stack:
    yield _acquire(stack, pathlib.Path(path), what)


def _acquire(stack, path: pathlib.Path, what: str) -> bool:
  try:
    import fcntl  # not on Windows

    file = stack.enter_context(path.open('ab'))
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(
        f'waiting for another process that makes {what} ({path})', flush=True
      )
      fcntl.flock(file, fcntl.LOCK_EX)
  except (ImportError, OSError):
    return False
  return True
