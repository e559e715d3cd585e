"""Directories in object stores (gs://, s3://, ...), and their copies here.

An object store has no locks, no appending and no renaming, which checkpoints,
logs and memory-mapped packs are made of. A directory there is therefore copied
to this machine, worked on, and copied back whenever something is complete.
fsspec knows the stores, by the packages of each (gcsfs, s3fs, ...).
"""

import contextlib
import hashlib
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator

from edjax import config as configuration

# What says that a dataset or a run is complete goes last.
_LAST = ('report.json', 'results.json')
# Parts of names of what is being written.
_UNFINISHED = ('.orbax-checkpoint-tmp', '.part-of-pull')


def is_remote(path: str | os.PathLike) -> bool:
  """Whether a path is an address, with a scheme."""
  return '://' in str(path)


def join(path: str | os.PathLike, name: str) -> str | pathlib.Path:
  """A path inside a directory, wherever that is."""
  if is_remote(path):
    return f'{str(path).rstrip("/")}/{name}'
  return pathlib.Path(path) / name


class Mirror:
  """A directory of an object store, and its copy on this machine.

  Args:
    address: of the directory, with a scheme; it need not be there.
    local: of the copy; exists.

  Raises:
    ConfigError: no package for the scheme is installed, or none knows it.
    OSError: the store cannot be reached.
  """

  def __init__(self, address: str, local: pathlib.Path):
    import fsspec  # where a scheme asks for it

    self.address, self.local = str(address), local
    try:
      store, root = fsspec.core.url_to_fs(self.address)
    except (ImportError, ValueError) as error:
      raise configuration.ConfigError(f'{address}: {error}') from error
    self._store, self._root = store, root.rstrip('/')
    self._known: dict[str, tuple[int, int]] = {}
    self._lock = threading.RLock()

  def names(self) -> set[str]:
    """Files in the store, relative to the directory."""
    self._store.invalidate_cache()
    try:
      found = self._store.find(self._root)
    except FileNotFoundError:
      return set()
    begin = len(self._root) + 1
    return {name[begin:] for name in found} - {''}

  def pull(self, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Copies files that are not here; those that are stay as they are.

    Args:
      wanted: by name, which ones.

    Returns:
      How many were copied.
    """
    with self._lock:
      names = sorted(n for n in self.names() if wanted(n) and not self._at(n))
      for name in names:
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f'{path.name}.part-of-pull')
        self._store.get_file(f'{self._root}/{name}', str(part))
        part.replace(path)
        self._known[name] = self._at(name)
      return len(names)

  def push(self, wanted: Callable[[str], bool] = lambda name: True) -> int:
    """Copies what is new or changed to the store, then removes there what has
    gone here.

    A kill in between leaves files of before and after: readers of checkpoints
    and datasets see by their digests, or by what is written last, what is
    whole.

    Args:
      wanted: by name, which ones.

    Returns:
      How many were copied.
    """
    with self._lock:
      here = {name for name in self._here() if wanted(name)}
      copied = 0
      for name in sorted(here, key=lambda n: (n.endswith(_LAST), n)):
        state = self._at(name)
        if state is None or self._known.get(name) == state:
          continue
        with contextlib.suppress(FileNotFoundError):  # gone in this moment
          self._put(name)
          self._known[name] = state
          copied += 1
      for name in [n for n in self._known if wanted(n) and n not in here]:
        del self._known[name]
        with contextlib.suppress(FileNotFoundError):
          self._store.rm_file(f'{self._root}/{name}')
      return copied

  def _put(self, name: str) -> None:
    target = f'{self._root}/{name}'
    # A no-op where there are no directories.
    self._store.makedirs(target.rpartition('/')[0], exist_ok=True)
    self._store.put_file(str(self.local / name), target)

  def _at(self, name: str) -> tuple[int, int] | None:
    """Size and time of a file here."""
    try:
      stat = (self.local / name).stat()
    except FileNotFoundError:
      return None
    return stat.st_size, stat.st_mtime_ns

  def _here(self) -> Iterator[str]:
    for path in self.local.rglob('*'):
      name = path.relative_to(self.local).as_posix()
      hidden = path.name.startswith('.')
      if hidden or any(word in name for word in _UNFINISHED):
        continue
      if path.is_file():
        yield name


class Here:
  """A directory of this machine, in place of a `Mirror`."""

  def __init__(self, path: str | os.PathLike):
    self.local = pathlib.Path(path)
    self.address = str(path)

  def pull(self, wanted=None) -> int:
    """There is nothing to copy."""
    return 0

  def push(self, wanted=None) -> int:
    """There is nothing to copy."""
    return 0


def of(place: 'str | os.PathLike | Mirror | Here') -> 'Mirror | Here':
  """A directory of this machine, or what `opened` gave."""
  return place if isinstance(place, (Mirror, Here)) else Here(place)


@contextlib.contextmanager
def opened(
  path: str | os.PathLike, wanted: Callable[[str], bool] = lambda name: True
) -> Iterator[Mirror | Here]:
  """A directory to work in, and at the end what was done is in its place.

  Args:
    path: of this machine, or the address of one in an object store. Its copy
      lies in the directory for temporary files (TMPDIR) and goes at the end.
    wanted: by name, which files are copied here.

  Raises:
    ConfigError, OSError: see `Mirror`.
  """
  if not is_remote(path):
    yield Here(path)
    return
  with tempfile.TemporaryDirectory(prefix='edjax-') as scratch:
    mirror = Mirror(str(path), pathlib.Path(scratch))
    mirror.pull(wanted)
    try:
      yield mirror
    finally:
      mirror.push()


def light(name: str) -> bool:
  """Of the files of runs and studies: all but checkpoints."""
  return 'checkpoints' not in name.split('/')


def copy_of(address: str) -> pathlib.Path:
  """Where data of an object store that stay as they are lie on this machine.

  In edjax/stores of the user's cache directory.
  """
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  name = hashlib.sha256(address.rstrip('/').encode()).hexdigest()[:16]
  path = pathlib.Path(home).expanduser() / 'edjax' / 'stores' / name
  path.mkdir(parents=True, exist_ok=True)
  return path


def fetch(address: str, local: pathlib.Path, last: str) -> bool:
  """Copies a directory that does not change any more; whole or not at all.

  Args:
    address: of the directory.
    local: of the copy; nothing is done where it is there.
    last: name of the file in it without which it is not complete.

  Returns:
    Whether the copy is there.

  Raises:
    ConfigError, OSError: see `Mirror`.
  """
  if local.exists():
    return True
  local.parent.mkdir(parents=True, exist_ok=True)
  # The name of what TFDS has not finished either: a build clears it away.
  scratch = tempfile.mkdtemp(prefix='incomplete.', dir=local.parent)
  with contextlib.ExitStack() as stack:
    stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    mirror = Mirror(address, pathlib.Path(scratch))
    if last not in mirror.names():
      return False
    mirror.pull()
    with contextlib.suppress(FileExistsError):  # another process was faster
      os.rename(scratch, local)
  return True


def send(local: pathlib.Path, address: str) -> None:
  """Copies a directory that does not change any more into a store."""
  Mirror(address, local).push()
