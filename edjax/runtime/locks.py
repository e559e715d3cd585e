"""Locks on files: one process at a time makes what others wait for."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from edjax.runtime import paths


def lock(file: IO, wait: bool) -> None:
  """Locks an open file against other processes and threads.

  Closing the file frees it, as does the end of the process.

  Args:
    file: opened for writing.
    wait: whether to wait for another that holds it.

  Raises:
    BlockingIOError: another holds it, and `wait` is False.
    OSError: there are no locks here (Windows, some file systems).
  """
  try:
    import fcntl
  except ImportError as error:
    raise OSError(str(error)) from error
  fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def locked(path: str | os.PathLike, what: str) -> Iterator[bool]:
  """Waits for other processes and threads, and keeps them out of the block.

  Where there are no locks (Windows, an object store, some file systems, a
  directory that may only be read) the block runs without.

  Args:
    path: of the lock file, which is made and stays; its directory exists.
    what: is made in the block, for the message of those that wait.

  Yields:
    Whether the lock is held: what others left half-done may then be removed.
  """
  with contextlib.ExitStack() as stack:
    yield not paths.is_remote(path) and _waited(stack, pathlib.Path(path), what)


def _waited(stack, path: pathlib.Path, what: str) -> bool:
  try:
    file = stack.enter_context(path.open('ab'))
    try:
      lock(file, wait=False)
    except BlockingIOError:
      print(
        f'waiting for another process that makes {what} ({path})', flush=True
      )
      lock(file, wait=True)
  except OSError:
    return False
  return True
