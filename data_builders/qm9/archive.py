"""QM9's raw archive: one file a molecule, `dsgdb9nsd_XXXXXX.xyz`."""

import hashlib
import pathlib
import re
import tarfile
import zlib
from collections.abc import Iterator

from data_builders.molecules.types import Record
from data_builders.qm9.parse import parse_xyz
from data_builders.support import download
from edjax.runtime import reading

# Bytes; the largest record has 4 kB.
_MAX_RECORD = 2**20
_RECORD = re.compile(r'dsgdb9nsd_\d+\.xyz')


def find(directory) -> pathlib.Path | None:
  """Finds the archive in a directory.

  Args:
    directory: that holds `dsgdb9nsd.xyz.tar.bz2` (or one file dsgdb9nsd*.tar*:
      browsers unpack .bz2), or, in folders or not, the files of the archive.

  Returns:
    The archive, or the directory itself where it holds the files; None for
    neither.

  Raises:
    ValueError: there are several archives.
  """
  directory = pathlib.Path(directory)
  archives = sorted(directory.glob('dsgdb9nsd*.tar*'))
  if len(archives) > 1:
    names = ', '.join(path.name for path in archives)
    raise ValueError(f'{directory} has several archives of QM9: {names}')
  if archives:
    return archives[0]
  return directory if _records_in(directory) else None


def digest(path: pathlib.Path) -> str:
  """Returns the SHA-256 of an archive, or of the names and sizes of its files.

  Args:
    path: of the archive, or of the directory with the files.
  """
  if not path.is_dir():
    return download.file_sha256(path)
  lines = sorted(f'{p.name} {p.stat().st_size}' for p in _records_in(path))
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def read(path) -> list[Record]:
  """Reads all records of the archive, sorted by index.

  Everything is read before anything is computed, so that a damaged archive
  shows after seconds, not at the end. Members whose name begins with a dot,
  which macOS adds, are passed over.

  Args:
    path: of the archive, or of a directory with its files.

  Raises:
    ValueError: a record cannot be read, sits in the wrong file or is there
      twice, or the archive is damaged or holds none.
  """
  path = pathlib.Path(path)
  records = {}
  for name, content in _files(path) if path.is_dir() else _members(path):
    with reading.naming(name):
      text = content.decode('ascii')
    record = parse_xyz(text, name)
    if name != f'dsgdb9nsd_{record.index:06d}.xyz':
      raise ValueError(f'{name}, line 2: holds molecule {record.index}')
    if record.index in records:
      raise ValueError(f'{path} holds {name} twice')
    records[record.index] = record
  if not records:
    raise ValueError(f'{path} holds no dsgdb9nsd_*.xyz')
  return [records[index] for index in sorted(records)]


def _records_in(directory) -> list[pathlib.Path]:
  below = reading.below(directory)
  files = [path for path in below.files if _RECORD.fullmatch(path.name)]
  if files and below.unreadable:
    folder, reason = below.unreadable[0]
    raise ValueError(
      f'{folder} cannot be read ({reason}): it may hold files of QM9'
    )
  return files


def _files(directory) -> Iterator[tuple[str, bytes]]:
  for path in _records_in(directory):
    _check_size(directory, path.name, path.stat().st_size)
    yield path.name, path.read_bytes()


def _members(path) -> Iterator[tuple[str, bytes]]:
  try:
    with tarfile.open(path, 'r:*') as members:
      for member in members:
        name = pathlib.PurePosixPath(member.name).name
        hidden = name.startswith('.')
        if hidden or not member.isfile() or not name.endswith('.xyz'):
          continue
        _check_size(path, name, member.size)
        yield name, members.extractfile(member).read()
  except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
    raise ValueError(
      f'{path} is damaged or cut short ({error}); fetch it again'
    ) from error


def _check_size(path, name, size) -> None:
  if size > _MAX_RECORD:
    raise ValueError(f'{path}: {name} claims to have {size} bytes')
