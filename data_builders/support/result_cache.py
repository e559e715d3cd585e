"""Results of long calculations, stored until their dataset is complete.

A build that is killed after hours of xTB begins again at the first molecule,
but reads what was calculated. Every process appends its results to a file of
its own and reads those that earlier processes have left, by a hash of
everything that a result depends on. Where there can be no such files (in an
object store, on a full disk), nothing is stored and the build goes on.
"""

import contextlib
import functools
import hashlib
import io
import os
import pathlib
import shutil
import struct
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np

from data_builders.support import worker_pool
from edjax.runtime import paths

# Tells worker processes the directory, as environment variables are inherited.
_VARIABLE = 'EDJAX_RESULT_CACHE'
# Before each result: its key, SHA-256 of key and content, bytes of the content.
_HEADER = struct.Struct('<32s32sQ')


@contextlib.contextmanager
def until_done(path: str | os.PathLike) -> Iterator[int]:
  """Stores results within the block; its end removes them.

  A kill or an error leaves them, and the next build reads them.

  Args:
    path: of the directory for them; the one above it exists.

  Yields:
    How many results an earlier build has left.
  """
  if paths.is_remote(path):
    yield 0
    return
  with worker_pool.environment(_VARIABLE, str(path)):
    cache = _of_this_process()
    try:
      yield len(cache.earlier)
    finally:
      cache.close()
      _opened.cache_clear()
  shutil.rmtree(path, ignore_errors=True)


def key(kind: str, *inputs) -> bytes:
  """Returns a hash of a calculation.

  Args:
    kind: what is calculated, by which versions of which programs.
    inputs: arrays and numbers that it depends on.
  """
  digest = hashlib.sha256(kind.encode())
  for value in inputs:
    value = np.asarray(value)
    digest.update(f'|{value.dtype.str}{value.shape}|'.encode())
    digest.update(value.tobytes())
  return digest.digest()


def get(name: bytes) -> dict[str, np.ndarray | float] | None:
  """Returns a result of an earlier process by its key, arrays and numbers.

  None where there is none, where it is damaged, and outside of `until_done`.
  """
  cache = _of_this_process()
  return cache.get(name) if cache else None


def put(name: bytes, arrays: Mapping[str, np.ndarray]) -> None:
  """Stores a result for a build that comes after a kill.

  Args:
    name: its `key`.
    arrays: arrays and numbers.
  """
  if cache := _of_this_process():
    cache.put(name, arrays)


class _Cache:
  """The results that earlier processes have left, and a file for new ones.

  Attributes:
    earlier: key -> (path, offset, bytes, digest) of each result.
  """

  def __init__(self, directory: str):
    self._directory, self._file, self._stores = directory, None, True
    self.earlier = {}
    # In the order of time: a result that replaces a damaged one comes later.
    for path in sorted(pathlib.Path(directory).glob('*')):
      end = path.stat().st_size
      with path.open('rb') as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
          name, digest, size = _HEADER.unpack(header)
          offset = file.tell()
          if offset + size > end:  # a kill or damage: no more can be read
            break
          self.earlier[name] = path, offset, size, digest
          file.seek(size, os.SEEK_CUR)

  def get(self, name: bytes) -> dict[str, np.ndarray | float] | None:
    if name not in self.earlier:
      return None
    path, offset, size, digest = self.earlier[name]
    with path.open('rb') as file:
      file.seek(offset)
      content = file.read(size)
    if hashlib.sha256(name + content).digest() != digest:
      return None
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
      return {k: v if v.ndim else v.item() for k, v in arrays.items()}

  def put(self, name: bytes, arrays) -> None:
    if not self._stores:
      return
    content = io.BytesIO()
    np.savez(content, **arrays)
    content = content.getvalue()
    digest = hashlib.sha256(name + content).digest()
    try:
      if self._file is None:
        directory = pathlib.Path(self._directory)
        directory.mkdir(exist_ok=True)
        path = directory / f'{time.time_ns()}-{os.getpid()}'
        self._file = path.open('xb')
      self._file.write(_HEADER.pack(name, digest, len(content)) + content)
      self._file.flush()
    except OSError as error:
      print(
        f'results are not stored for a build that follows a kill: {error}',
        file=sys.stderr,
      )
      self.close()
      self._stores = False

  def close(self) -> None:
    if self._file:
      with contextlib.suppress(OSError):  # what is left on a full disk
        self._file.close()


@functools.cache
def _opened(directory: str, pid: int) -> _Cache:
  del pid  # a fork has a file of its own
  return _Cache(directory)


def _of_this_process() -> _Cache | None:
  directory = os.environ.get(_VARIABLE)
  return _opened(directory, os.getpid()) if directory else None
