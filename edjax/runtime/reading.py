"""Reading of files, with errors that name them."""

import contextlib
import csv
import gzip
import json
import pathlib
import zlib

# Files that are read whole are far smaller; a small gzipped one could unpack to
# more than there is memory.
MAX_BYTES = 2**29


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
    return json.loads(pathlib.Path(path).read_text(encoding='utf-8'))


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
