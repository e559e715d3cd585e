"""QM9's raw archive: one file a molecule, `dsgdb9nsd_XXXXXX.xyz`."""

import pathlib
import tarfile
import zlib

from data_builders.molecules.types import Record
from data_builders.qm9.parse import parse_xyz
from edjax.runtime import reading

# Bytes; the largest record has 4 kB.
_MAX_RECORD = 2**20


def read(path) -> list[Record]:
  """Reads all records of the archive, sorted by index.

  Everything is read before anything is computed, so that a damaged archive
  shows after seconds, not at the end.

  Raises:
    ValueError: a record cannot be read or sits in the wrong file, or the
      archive is damaged or holds none.
  """
  records = []
  try:
    with tarfile.open(path, 'r:*') as members:
      for member in members:
        name = pathlib.PurePosixPath(member.name).name
        if not member.isfile() or not name.endswith('.xyz'):
          continue
        if member.size > _MAX_RECORD:
          raise ValueError(f'{path}: {name} claims to have {member.size} bytes')
        content = members.extractfile(member).read()
        with reading.naming(name):
          text = content.decode('ascii')
        record = parse_xyz(text, name)
        if name != f'dsgdb9nsd_{record.index:06d}.xyz':
          raise ValueError(f'{name}, line 2: holds molecule {record.index}')
        records.append(record)
  except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
    raise ValueError(
      f'{path} is damaged or cut short ({error}); fetch it again'
    ) from error
  if not records:
    raise ValueError(f'{path} holds no dsgdb9nsd_*.xyz')
  return sorted(records, key=lambda record: record.index)
