"""Files that appear under their names whole, or not at all."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Gives the name of a new file, which takes the place of `path` at the end.

  An error removes the new file and leaves `path` as it was; a kill may leave
  the new file, whose name begins with a dot. A power failure is not guarded
  against.

  Args:
    path: of the file; its directory exists.

  Yields:
    A name in the same directory, for the block to write a file to.

  Raises:
    OSError: the file cannot be written or renamed.
  """
  path = pathlib.Path(path)
  part = path.with_name(f'.{path.name}.{uuid.uuid4().hex[:8]}.part')
  try:
    yield part
    part.replace(path)
  finally:
    part.unlink(missing_ok=True)


def write(path: str | os.PathLike, content: str | bytes) -> None:
  """Writes a file at once; text as UTF-8, line ends as they are.

  Raises:
    OSError: it cannot be written; what was there before stays.
  """
  data = content.encode() if isinstance(content, str) else content
  with replacing(path) as part:
    part.write_bytes(data)


def write_json(path: str | os.PathLike, content) -> None:
  """Writes indented JSON at once.

  Raises:
    ValueError: a number is not finite.
    OSError: see `write`.
  """
  write(path, json.dumps(content, indent=2, allow_nan=False) + '\n')
