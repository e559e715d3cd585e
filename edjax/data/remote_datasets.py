"""Datasets and source files in object stores, and their copies here.

They do not change once they are there. A file that is written last lists the
others: without it a directory is not complete.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from edjax.runtime import stores

_SEAL = 'complete.json'


def copy_of(address: str) -> pathlib.Path:
  """Where copies of a directory lie on this machine.

  In edjax/stores of the user's cache directory.
  """
  home = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  name = hashlib.sha256(str(address).rstrip('/').encode()).hexdigest()[:16]
  path = pathlib.Path(home).expanduser() / 'edjax' / 'stores' / name
  path.mkdir(parents=True, exist_ok=True)
  return path


def is_complete(address: str) -> bool:
  """Whether a directory in a store has been sealed."""
  with tempfile.TemporaryDirectory() as nowhere:
    return _SEAL in stores.Mirror(address, pathlib.Path(nowhere)).sizes()


def check_empty(address: str) -> None:
  """Before something is made in a store itself, not here.

  Raises:
    ValueError: there is something that was not sealed.
  """
  with tempfile.TemporaryDirectory() as nowhere:
    found = stores.Mirror(address, pathlib.Path(nowhere)).sizes()
  if found:
    raise ValueError(
      f'{address} is not complete: it is being made, or that was interrupted '
      f'({len(found)} files). Wait, or delete it'
    )


def seal(address: str) -> None:
  """Says that a directory in a store is complete."""
  with tempfile.TemporaryDirectory() as scratch:
    mirror = stores.Mirror(address, pathlib.Path(scratch))
    sizes = mirror.sizes()
    sizes.pop(_SEAL, None)
    (mirror.local / _SEAL).write_text(json.dumps(sizes), encoding='utf-8')
    mirror.push()


def send(local: pathlib.Path, address: str) -> None:
  """Copies a directory into a store, and seals it there."""
  stores.Mirror(address, local).push()
  seal(address)


def fetch(address: str, local: pathlib.Path) -> None:
  """Copies a sealed directory here; whole or not at all.

  Args:
    address: of the directory.
    local: of the copy; nothing is done where it is there.

  Raises:
    OSError: the store refuses, or has not all that was there when it was
      sealed.
  """
  from edjax.runtime import locks

  local.parent.mkdir(parents=True, exist_ok=True)
  lock = local.parent / f'.{local.name}.fetch.lock'
  with locks.locked(lock, f'a copy of {address}'):
    if local.exists():
      return
    scratch = tempfile.mkdtemp(prefix='.fetched.', dir=local.parent)
    scratch = pathlib.Path(scratch)
    with contextlib.ExitStack() as stack:
      stack.callback(shutil.rmtree, scratch, ignore_errors=True)
      stores.Mirror(address, scratch).pull()
      sealed = json.loads((scratch / _SEAL).read_text(encoding='utf-8'))
      lacking = [
        name
        for name, size in sealed.items()
        if not (scratch / name).is_file()
        or (scratch / name).stat().st_size != size
      ]
      if lacking:
        raise OSError(
          f'{address} is not what was once complete there: '
          f'{", ".join(lacking[:3])}; delete it, and it is made again'
        )
      (scratch / _SEAL).unlink()
      scratch.rename(local)


def read(address: str, name: str) -> str:
  """The text of a small file."""
  with tempfile.TemporaryDirectory() as scratch:
    mirror = stores.Mirror(address, pathlib.Path(scratch))
    mirror.pull(lambda found: found == name)
    return (mirror.local / name).read_text(encoding='utf-8')


def source_files(address: str) -> pathlib.Path:
  """A copy of all files of a directory that somebody has filled."""
  from edjax.runtime import locks

  local = copy_of(address)
  with locks.locked(local / '.lock', f'a copy of {address}'):
    stores.Mirror(address, local).pull()
  return local
