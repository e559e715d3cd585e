"""Reading of files, with errors that name them."""

import codecs
import collections
import contextlib
import csv
import gzip
import json
import os
import pathlib
import zlib
from typing import NamedTuple

# Files that are read whole are far smaller; a small gzipped one could unpack to
# more than there is memory.
MAX_BYTES = 2**29
# Byte order marks; spreadsheets write tables in UTF-16.
_MARKS = (
  (codecs.BOM_UTF8, 'utf-8'),
  (codecs.BOM_UTF16_LE, 'utf-16-le'),
  (codecs.BOM_UTF16_BE, 'utf-16-be'),
)


class Below(NamedTuple):
  """What lies in a folder and those below it.

  Attributes:
    files: in order of their folders' paths and names.
    unreadable: (folder, reason) of those that could not be listed.
  """

  files: tuple[pathlib.Path, ...]
  unreadable: tuple[tuple[pathlib.Path, str], ...]


def below(top) -> Below:
  """Lists the files in a folder and those below it.

  Links are followed. Hidden files and folders, whose names begin with a dot,
  are passed over: they are no data, and macOS writes one named ._NAME for every
  file NAME into archives and onto foreign disks.

  Args:
    top: the folder; one that is not there counts as unreadable.
  """
  files, unreadable = [], []

  def failed(error):
    unreadable.append((pathlib.Path(error.filename), error.strerror))

  seen = set()  # a link may lead back up
  for folder, folders, names in os.walk(top, onerror=failed, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen:
      folders.clear()
      continue
    seen.add(real)
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    files += [
      pathlib.Path(folder, name)
      for name in sorted(names)
      if not name.startswith('.')
    ]
  return Below(tuple(files), tuple(unreadable))


def found_in(top) -> str:
  """Says what lies in a folder, for messages that miss something there.

  Args:
    top: the folder.

  Returns:
    Such as 'DIR holds 3 files (2 .sdf, 1 .xlsx), such as a/b.sdf, c.xlsx'.
  """
  top = pathlib.Path(top)
  if not top.is_dir():
    return f'there is no folder {top}'
  files, unreadable = below(top)
  plural = '' if len(files) == 1 else 's'
  text = f'{top} holds {len(files) or "no"} file{plural}'
  if files:
    suffixes = collections.Counter(path.suffix or path.name for path in files)
    counts = ', '.join(f'{n} {name}' for name, n in suffixes.most_common(5))
    # Few files at the top tell more than many of one complex.
    first = sorted(files, key=lambda path: (len(path.parts), path))[:4]
    names = ', '.join(str(path.relative_to(top)) for path in first)
    text += f' ({counts}), such as {names}'
  for folder, reason in unreadable[:3]:
    text += f'; {folder} cannot be read ({reason})'
  return text


def decoded(data: bytes, name, errors: str = 'strict') -> str:
  """Decodes a text: UTF-8, or what its byte order mark says.

  Args:
    data: the bytes.
    name: of the file, for messages.
    errors: 'replace' for bytes that are not UTF-8; else they raise.

  Raises:
    ValueError: it has characters of code 0, as UTF-16 without a mark and
      binary files do.
    UnicodeDecodeError: see `errors`.
  """
  marks = [(mark, e) for mark, e in _MARKS if data.startswith(mark)]
  mark, encoding = marks[0] if marks else (b'', 'utf-8')
  text = data[len(mark) :].decode(encoding, errors=errors)
  if '\0' in text:
    raise ValueError(f'{name} is no text in UTF-8: save it as such')
  return text


def text(path, errors: str = 'strict') -> str:
  """Reads a text file; see `decoded`.

  Raises:
    ValueError: it is no text; the message names the file.
    OSError: it cannot be read.
  """
  with naming(path):
    return decoded(pathlib.Path(path).read_bytes(), path, errors)


@contextlib.contextmanager
def naming(path):
  """Adds the name of the file to errors of decoders and parsers in the block.

  Raises:
    ValueError: in place of their errors.
  """
  try:
    yield
  except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
    raise ValueError(f'{path}: {error}') from error
  except RecursionError as error:
    raise ValueError(f'{path} is nested too deeply') from error


def read_json(path):
  """Reads a JSON file.

  Raises:
    ValueError: it is not JSON.
    OSError: it cannot be read.
  """
  with naming(path):
    return json.loads(text(path))


def unpacked(path) -> bytes:
  """Reads a file, gzipped or not (its first bytes tell).

  Raises:
    ValueError: the gzipped file is damaged or cut off, or holds too much.
    OSError: it cannot be read.
  """
  path = pathlib.Path(path)
  with path.open('rb') as file:
    packed = file.read(2) == b'\x1f\x8b'
    file.seek(0)
    try:
      with gzip.open(file) if packed else contextlib.nullcontext(file) as whole:
        data = whole.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
      raise ValueError(
        f'{path.name}: the gzipped file is cut off or damaged ({error})'
      ) from error
  if len(data) > MAX_BYTES:
    raise ValueError(
      f'{path.name} has more than {MAX_BYTES >> 20} MiB'
      + (' when it is unpacked' if packed else '')
    )
  return data
