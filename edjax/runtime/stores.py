"""Directories in object stores (gs://, s3://, ...), and their copies here.

An object store has no locks, no appending and no renaming, which checkpoints
and logs are made of. A run directory there is therefore copied to this machine,
worked on, and copied back whenever something is complete. fsspec knows the
stores, by the packages of each (gcsfs, s3fs, ...).
"""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from edjax.config import ConfigError
from edjax.runtime import atomic_files, paths

# Order of copying, by parts of names: a state goes after the metrics that
# belong to it and the weights that it knows of, and the file that says that a
# run is complete goes last.
_ORDER = ('checkpoints/best/', 'checkpoints/latest/', 'results.json')
# Part of the names of what Orbax is still writing.
_UNFINISHED = '.orbax-checkpoint-tmp'
# Pauses before a failed copy is tried again, s: the packages of stores retry
# by themselves for a shorter time.
_PAUSES = (2.0, 8.0, 30.0)


def everything(name: str) -> bool:
  """Selects all files."""
  del name
  return True


def light(name: str) -> bool:
  """Selects the files of runs and studies but their checkpoints."""
  return 'checkpoints' not in name.split('/')


class Directory:
  """A directory of this machine, which needs no copying.

  Attributes:
    local: where the files are on this machine.
    address: what the user calls the directory.
  """

  def __init__(self, path: str | os.PathLike):
    self.local, self.address = pathlib.Path(path), str(path)

  def pull(self, wanted: Callable[[str], bool] = everything) -> int:
    """Copies files here; returns how many."""
    del wanted
    return 0

  def push(self) -> int:
    """Copies files to their place; returns how many."""
    return 0

  def saved(self) -> None:
    """Pushes; a store that does not answer is reported on standard error.

    The work goes on, and the next push repeats what failed.
    """
    try:
      self.push()
    except OSError as error:
      print(f'not copied: {error}; it goes on here', file=sys.stderr)


class Mirror(Directory):
  """A directory of an object store, and its copy on this machine.

  Args:
    address: of the directory, with a scheme; it need not be there.
    local: of the copy; exists.

  Raises:
    ConfigError: no package for the scheme is installed, or none knows it.
    OSError: the store refuses, here and in every method.
  """

  def __init__(self, address: str, local: pathlib.Path):
    import fsspec  # where a scheme asks for it

    self.address, self.local = str(address).rstrip('/'), local
    with self._naming():
      try:
        self._store, root = fsspec.core.url_to_fs(self.address)
      except (ImportError, ValueError) as error:
        raise ConfigError(f'{address}: {error}') from error
    self._root = root.rstrip('/')
    # (size, time) of files as they were when both sides were equal.
    self._equal: dict[str, tuple[int, int]] = {}
    self._lock = threading.RLock()

  @contextlib.contextmanager
  def _naming(self) -> Iterator[None]:
    """Turns the errors of a store's package into OSErrors with its address."""
    try:
      yield
    except ConfigError:
      raise
    except Exception as error:
      raise OSError(
        f'{self.address}: {type(error).__name__}: {error}'
      ) from error

  def check_writable(self) -> None:
    """Writes an empty file and removes it.

    Raises:
      OSError: there is no such bucket, or no right to write.
    """
    name = f'.edjax-{uuid.uuid4().hex}'
    self._put(os.devnull, name)
    with self._naming():
      self._store.rm_file(f'{self._root}/{name}')

  def sizes(self) -> dict[str, int]:
    """Returns name in the directory -> bytes, of the files in the store."""
    with self._naming():
      self._store.invalidate_cache()
      try:
        files = self._store.find(self._root, detail=True)
      except FileNotFoundError:  # not yet a directory
        return {}
    begin = len(self._root) + 1
    return {
      name[begin:]: int(facts['size'])
      for name, facts in files.items()
      # Some tools leave objects that stand for directories.
      if name[begin:] and not name.endswith('/')
    }

  def pull(self, wanted: Callable[[str], bool] = everything) -> int:
    """Copies files that are not here, or have changed there and not here.

    Args:
      wanted: name -> whether to copy it.

    Returns:
      How many were copied.
    """
    with self._lock:
      copied = 0
      for name, size in sorted(self.sizes().items()):
        here = self._stamp(name)
        changed = here is not None and here != self._equal.get(name)
        if not wanted(name) or changed or (here and here[0] == size):
          continue
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.replacing(path) as part, self._naming():
          self._store.get_file(f'{self._root}/{name}', str(part))
        self._equal[name] = self._stamp(name)
        copied += 1
      return copied

  def push(self) -> int:
    """Copies what is new or changed, then removes there what has gone here.

    A kill in between leaves files of before and after, from which a run goes
    on: see _ORDER. A run that another machine has finished meanwhile stays as
    it is there.

    Returns:
      How many were copied.
    """
    with self._lock:
      finished = tuple(
        name.removesuffix('results.json')
        for name in self.sizes()
        if name.endswith('/results.json') and not (self.local / name).exists()
      )
      copied = 0
      for name in sorted(self._files_here(), key=_order):
        stamp = self._stamp(name)
        if stamp in (None, self._equal.get(name)) or name.startswith(finished):
          continue
        try:
          self._put(str(self.local / name), name)
        except OSError:
          if self._stamp(name) is not None:
            raise
        # A file that has just gone counts too: its copy is removed below.
        self._equal[name] = stamp
        copied += 1
      for name in [n for n in self._equal if self._stamp(n) is None]:
        del self._equal[name]
        with self._naming(), contextlib.suppress(FileNotFoundError):
          self._store.rm_file(f'{self._root}/{name}')
      return copied

  def _put(self, path: str, name: str) -> None:
    with self._naming():
      self._store.put_file(path, f'{self._root}/{name}')

  def _stamp(self, name: str) -> tuple[int, int] | None:
    """Returns size and time of a file here; None where there is none."""
    try:
      stat = (self.local / name).stat()
    except (FileNotFoundError, NotADirectoryError):
      return None
    return stat.st_size, stat.st_mtime_ns

  def _files_here(self) -> list[str]:
    """Lists complete files here; others may be writing and renaming some."""
    names = []
    for directory, below, files in os.walk(self.local, onerror=_unless_gone):
      below[:] = [n for n in below if _UNFINISHED not in n]
      for file in files:
        if not file.startswith('.') and _UNFINISHED not in file:
          path = pathlib.Path(directory, file)
          names.append(path.relative_to(self.local).as_posix())
    return names


def _order(name: str) -> tuple[int, str]:
  ranks = [i for i, part in enumerate(_ORDER, 1) if part in name]
  return max(ranks, default=0), name


def _unless_gone(error: OSError) -> None:
  if not isinstance(error, FileNotFoundError):
    raise error


def of(place: str | os.PathLike | Directory) -> Directory:
  """Returns a directory of this machine, or what `opened` gave, as it is.

  Raises:
    ConfigError: it is an address.
  """
  if isinstance(place, Directory):
    return place
  if paths.is_remote(place):
    raise ConfigError(
      f'{place}: open it with edjax.runtime.stores.opened, and give what that '
      'gives'
    )
  return Directory(place)


@contextlib.contextmanager
def opened(
  path: str | os.PathLike, wanted: Callable[[str], bool] = everything
) -> Iterator[Directory]:
  """Opens a directory to work in; at the end its files are in their place.

  Args:
    path: of this machine, or the address of one in an object store. Its copy
      lies in the directory for temporary files (TMPDIR) and is removed at the
      end; it stays, and is named, where the store refuses the files.
    wanted: name -> whether the file is copied here.

  Raises:
    ConfigError, OSError: see `Mirror`.
  """
  if not paths.is_remote(path):
    yield Directory(path)
    return
  scratch = pathlib.Path(tempfile.mkdtemp(prefix='edjax-'))
  try:
    mirror = Mirror(str(path), scratch)
    mirror.check_writable()
    mirror.pull(wanted)
  except BaseException:
    shutil.rmtree(scratch, ignore_errors=True)
    raise
  try:
    yield mirror
  except BaseException:
    try:
      _push_and_remove(mirror)
    except OSError as error:  # must not hide what happened before
      print(error, file=sys.stderr)
    raise
  _push_and_remove(mirror)


def _push_and_remove(mirror: Mirror) -> None:
  """Pushes, in several tries, and removes the copy here.

  Raises:
    OSError: the store still refuses; the copy stays.
  """
  for pause in (*_PAUSES, None):
    try:
      mirror.push()
      break
    except OSError as error:
      if pause is None:
        raise OSError(
          f'not copied: {error}; everything is kept in {mirror.local}'
        ) from error
      time.sleep(pause)
  shutil.rmtree(mirror.local, ignore_errors=True)
