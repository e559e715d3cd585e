"""Results of long calculations, kept until their dataset is there.

A build that is killed after hours of xTB begins again at the first molecule,
but finds what was calculated. The results lie in one SQLite file, which worker
processes read and write; each is found by a hash of everything that it depends
on. Where there can be no such file (in an object store, without locks, on a
full disk), nothing is kept and the build goes on.
"""

import contextlib
import hashlib
import io
import os
import pathlib
import sqlite3
import sys
from collections.abc import Iterator, Mapping

import numpy as np

from data_builders.support import worker_pool
from edjax.runtime import paths

# Tells worker processes where, as environment variables are inherited.
_VARIABLE = 'EDJAX_KEPT_RESULTS'
# Seconds to wait for another process that writes.
_PATIENCE = 30.0
_connections: dict[tuple, sqlite3.Connection | None] = {}


@contextlib.contextmanager
def until_done(path: str | os.PathLike) -> Iterator[int]:
  """Within it results are kept; a kill leaves them, an end removes them.

  An error leaves them as well: the next build finds them.

  Args:
    path: of the file; its directory exists.

  Yields:
    How many results an earlier build has left.
  """
  if paths.is_remote(path):
    yield 0
    return
  path = pathlib.Path(path)
  try:
    with worker_pool.environment(_VARIABLE, str(path)):
      yield _count(path)
  finally:
    connection = _connections.pop((os.getpid(), str(path)), None)
    if connection is not None:
      connection.close()
  _remove(path)


def key(kind: str, *inputs) -> bytes:
  """Hash of a calculation.

  Args:
    kind: what is calculated, by which versions of which programs.
    inputs: arrays and numbers that it depends on.
  """
  found = hashlib.sha256(kind.encode())
  for value in inputs:
    value = np.asarray(value)
    found.update(f'|{value.dtype.str}{value.shape}|'.encode())
    found.update(value.tobytes())
  return found.digest()


def recall(name: bytes) -> dict[str, np.ndarray] | None:
  """A result by its key; None where it is not kept."""
  connection = _connection()
  if connection is None:
    return None
  try:
    row = connection.execute(
      'SELECT content, sha256 FROM results WHERE name = ?', (name,)
    ).fetchone()
  except sqlite3.Error as error:
    _give_up(error)
    return None
  if row is None or hashlib.sha256(row[0]).digest() != row[1]:
    return None
  with np.load(io.BytesIO(row[0]), allow_pickle=False) as arrays:
    return dict(arrays)


def keep(name: bytes, arrays: Mapping[str, np.ndarray]) -> None:
  """Keeps a result for a build that comes after a kill.

  Args:
    name: `key` of it.
    arrays: arrays and numbers.
  """
  connection = _connection()
  if connection is None:
    return
  content = io.BytesIO()
  np.savez(content, **arrays)
  content = content.getvalue()
  row = name, content, hashlib.sha256(content).digest()
  try:
    with connection:
      connection.execute('INSERT OR REPLACE INTO results VALUES (?, ?, ?)', row)
  except sqlite3.Error as error:
    _give_up(error)


def _count(path: pathlib.Path) -> int:
  """Results in a file; one that is damaged goes, before workers read it."""
  try:
    connection = _open(path)
    with contextlib.closing(connection):
      state = connection.execute('PRAGMA quick_check(1)').fetchone()
      if state != ('ok',):
        raise sqlite3.DatabaseError(state)
      return connection.execute('SELECT count(*) FROM results').fetchone()[0]
  except sqlite3.OperationalError:  # whoever wants to keep something will see
    return 0
  except sqlite3.DatabaseError:
    _remove(path)
    return 0


def _open(path) -> sqlite3.Connection:
  connection = sqlite3.connect(path, timeout=_PATIENCE)
  # Writers append to a log of their own and wait for no disk: a kill loses
  # nothing, a power failure the last results.
  connection.execute('PRAGMA journal_mode = WAL')
  connection.execute('PRAGMA synchronous = NORMAL')
  with connection:
    connection.execute(
      'CREATE TABLE IF NOT EXISTS results '
      '(name BLOB PRIMARY KEY, content BLOB, sha256 BLOB)'
    )
  return connection


def _connection() -> sqlite3.Connection | None:
  """Of this process; None where nothing is kept."""
  path = os.environ.get(_VARIABLE)
  if not path:
    return None
  place = os.getpid(), path
  if place not in _connections:
    try:
      _connections[place] = _open(path)
    except sqlite3.Error as error:
      _give_up(error)
  return _connections[place]


def _give_up(error) -> None:
  """Says once a process that results are not kept."""
  path = os.environ[_VARIABLE]
  print(
    f'results are not kept for a build that goes on after a kill: {path}: '
    f'{error}',
    file=sys.stderr,
  )
  _connections[os.getpid(), path] = None


def _remove(path: pathlib.Path) -> None:
  for suffix in ('', '-wal', '-shm', '-journal'):
    with contextlib.suppress(OSError):
      path.with_name(path.name + suffix).unlink(missing_ok=True)
