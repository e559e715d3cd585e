"""Directories in object stores (gs://, s3://, ...), and their copies here.

An object store has no locks, no appending and no renaming, which checkpoints,
logs and memory-mapped packs are made of. A directory there is therefore copied
to this machine, worked on, and copied back whenever something is complete.
fsspec knows the stores, by the packages of each (gcsfs, s3fs, ...).
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
from edjax.runtime import paths

# In which order files are copied, by parts of their names: what says that a run
# is complete goes last, and a state after the metrics that belong to it and
# the weights that it knows of.
_ORDER = ('checkpoints/best/', 'checkpoints/latest/', 'results.json')
# Parts of names of what is being written.
_UNFINISHED = ('.orbax-checkpoint-tmp', '.part-of-pull')
# Stores without directories, where one that is made would be a bucket.
_FLAT = {'gs', 'gcs', 's3', 's3a', 'az', 'abfs', 'abfss', 'oss', 'memory'}
# Pauses before what has failed is tried again, s: what packages of stores retry
# by themselves has failed for longer.
_PAUSES = (2.0, 8.0, 30.0)


class Mirror:
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
    self._flat = self.address.split('://')[0] in _FLAT
    self._root = root.rstrip('/')
    # Size and time of files as they were when both sides were equal.
    self._known: dict[str, tuple[int, int]] = {}
    self._lock = threading.RLock()

  @contextlib.contextmanager
  def _naming(self) -> Iterator[None]:
    """Packages of stores have errors of their own for refused requests."""
    try:
      yield
    except ConfigError:
      raise
    except Exception as error:
      raise OSError(
        f'{self.address}: {type(error).__name__}: {error}'
      ) from error

  def check_writable(self) -> None:
    """Writes a file and removes it: better now than after a day of training.

    Raises:
      OSError: there is no such bucket, or no right to write.
    """
    name = f'.edjax-{uuid.uuid4().hex}'
    with tempfile.NamedTemporaryFile() as empty, self._naming():
      self._put(empty.name, name)
      self._store.rm_file(f'{self._root}/{name}')

  def sizes(self) -> dict[str, int]:
    """Files in the store, relative to the directory, and their bytes."""
    with self._naming():
      self._store.invalidate_cache()
      try:
        found = self._store.find(self._root, detail=True)
      except FileNotFoundError:  # not yet a directory
        return {}
    begin = len(self._root) + 1
    return {
      name[begin:]: int(facts['size'])
      for name, facts in found.items()
      # Some tools leave objects that stand for directories.
      if name[begin:] and not name.endswith('/')
    }

  def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Copies files that are not here, or have grown there and not changed here.

    Args:
      wanted: by name, which ones.

    Returns:
      How many were copied.
    """
    with self._lock:
      copied = 0
      for name, size in sorted(self.sizes().items()):
        state = self._at(name)
        changed = state is not None and state != self._known.get(name)
        if not wanted(name) or changed or (state and state[0] == size):
          continue
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'.{uuid.uuid4().hex}.part-of-pull')
        with self._naming():
          self._store.get_file(f'{self._root}/{name}', str(part))
        part.replace(path)
        self._known[name] = self._at(name)
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
      here, there = list(self._here()), self.sizes()
      done = {
        name.removesuffix('results.json')
        for name in there
        if name.endswith('/results.json') and not (self.local / name).exists()
      }
      copied = 0
      for name in sorted(here, key=_order):
        state = self._at(name)
        if state is None or self._known.get(name) == state:
          continue
        if any(name.startswith(run) for run in done):
          continue
        try:
          with self._naming():
            self._put(str(self.local / name), name)
        except OSError:
          if self._at(name) is not None:
            raise
        # Also where it has gone in this moment: what of it came there goes.
        self._known[name] = state
        copied += 1
      for name in [n for n in self._known if self._at(n) is None]:
        del self._known[name]
        with self._naming(), contextlib.suppress(FileNotFoundError):
          self._store.rm_file(f'{self._root}/{name}')
      return copied

  def saved(self) -> None:
    """`push`, where it must not end what is being done: later it is repeated.

    What it says of a store that does not answer goes to standard error.
    """
    try:
      self.push()
    except OSError as error:
      print(f'not copied: {error}; it goes on here', file=sys.stderr)

  def _put(self, path: str, name: str) -> None:
    target = f'{self._root}/{name}'
    if not self._flat:
      self._store.makedirs(target.rpartition('/')[0], exist_ok=True)
    self._store.put_file(path, target)

  def _at(self, name: str) -> tuple[int, int] | None:
    """Size and time of a file here."""
    try:
      stat = (self.local / name).stat()
    except (FileNotFoundError, NotADirectoryError):
      return None
    return stat.st_size, stat.st_mtime_ns

  def _here(self) -> Iterator[str]:
    """Files here; others may be writing and renaming meanwhile."""
    for directory, below, names in os.walk(self.local, onerror=_unless_gone):
      below[:] = [n for n in below if not _unfinished(n)]
      for name in names:
        if not (name.startswith('.') or _unfinished(name)):
          path = pathlib.Path(directory, name)
          yield path.relative_to(self.local).as_posix()


def _order(name: str) -> tuple[int, str]:
  found = [i for i, part in enumerate(_ORDER, 1) if part in name]
  return max(found, default=0), name


def _unfinished(name: str) -> bool:
  return any(word in name for word in _UNFINISHED)


def _unless_gone(error: OSError) -> None:
  if not isinstance(error, FileNotFoundError):
    raise error


class Here:
  """A directory of this machine, in place of a `Mirror`."""

  def __init__(self, path: str | os.PathLike):
    self.local = pathlib.Path(path)
    self.address = str(path)

  def pull(self, wanted=None) -> int:
    """There is nothing to copy."""
    return 0

  def push(self) -> int:
    """There is nothing to copy."""
    return 0

  def saved(self) -> None:
    """There is nothing to copy."""


def of(place: str | os.PathLike | Mirror | Here) -> Mirror | Here:
  """A directory of this machine, or what `opened` gave.

  Raises:
    ConfigError: it is an address.
  """
  if isinstance(place, (Mirror, Here)):
    return place
  if paths.is_remote(place):
    raise ConfigError(
      f'{place}: open it with edjax.runtime.stores.opened, and give what that '
      'gives'
    )
  return Here(place)


@contextlib.contextmanager
def opened(
  path: str | os.PathLike, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Mirror | Here]:
  """A directory to work in, and at the end what was done is in its place.

  Args:
    path: of this machine, or the address of one in an object store. Its copy
      lies in the directory for temporary files (TMPDIR) and goes at the end;
      it stays, and is named, where the store does not take what was done.
    wanted: by name, which files are copied here.

  Raises:
    ConfigError, OSError: see `Mirror`.
  """
  if not paths.is_remote(path):
    yield Here(path)
    return
  scratch = tempfile.mkdtemp(prefix='edjax-')
  try:
    mirror = Mirror(str(path), pathlib.Path(scratch))
    mirror.check_writable()
    mirror.pull(wanted)
  except BaseException:
    shutil.rmtree(scratch, ignore_errors=True)
    raise
  try:
    yield mirror
  finally:
    _push_at_last(mirror)
  shutil.rmtree(scratch, ignore_errors=True)


def _push_at_last(mirror: Mirror) -> None:
  """Several times, and what happened before is not hidden by a failure."""
  earlier = sys.exception()
  for pause in (*_PAUSES, None):
    try:
      mirror.push()
      break
    except OSError as error:
      if pause is not None:
        time.sleep(pause)
        continue
      words = f'not copied: {error}; everything is kept in {mirror.local}'
      if earlier is None:
        raise OSError(words) from error
      print(words, file=sys.stderr)
      return
  if earlier is not None:
    shutil.rmtree(mirror.local, ignore_errors=True)


def light(name: str) -> bool:
  """Of the files of runs and studies: all but checkpoints."""
  return 'checkpoints' not in name.split('/')
