"""A table of predictions that grows by rows, and goes on where it was."""

import csv
import io
import json
import pathlib
from collections.abc import Mapping, Sequence

from edjax.config import ConfigError
from edjax.runtime import atomic_files, locks, paths


class Table:
  """A CSV file, with a JSON file beside it that says what it is made of.

  A killed process leaves whole rows, and at most one that is cut, which is
  dropped. Use it as a context, which keeps other processes away.

  Args:
    path: of the CSV file; that of the JSON file has .json at its end.
    header: names of the columns.
    made_of: what makes the rows, by name: another table is one in which any of
      these is another.

  Attributes:
    rows: number of rows that are there.

  Raises:
    ConfigError: the file is of something else, or another process is writing
      it, or it is in an object store.
    OSError: it cannot be written.
  """

  def __init__(
    self,
    path: str | pathlib.Path,
    header: Sequence[str],
    made_of: Mapping[str, object],
  ):
    if paths.is_remote(path):
      raise ConfigError(f'--output={path}: it must be a file of this machine')
    self.path = pathlib.Path(path).expanduser()
    self._beside = self.path.with_name(f'{self.path.name}.json')
    self._file = self.path.open('a+b')
    try:
      self._lock()
      self.rows = self._continue(header, json.loads(json.dumps(made_of)))
    except BaseException:
      self._file.close()
      raise

  def _lock(self) -> None:
    try:
      locks.lock(self._file, wait=False)
    except BlockingIOError as error:
      raise ConfigError(
        f'another process is writing {self.path}; wait for it, or give another '
        '--output'
      ) from error
    except OSError as error:
      print(
        f'{self.path} cannot be locked ({error}): see to it that no other '
        'process writes it',
        flush=True,
      )

  def _continue(self, header, made_of) -> int:
    """Returns the number of rows that are there, after the last whole one."""
    self._file.seek(0)
    text = self._file.read()
    whole = text.rfind(b'\n') + 1
    if not whole:  # new, or killed in its first line
      if text and not self._beside.exists():
        self._refuse('was not made by this command')
      self._file.truncate(0)
      atomic_files.write_json(self._beside, made_of)
      self.append([header])
      return 0
    try:
      before = json.loads(self._beside.read_text(encoding='utf-8'))
    except (OSError, ValueError):
      self._refuse(f'is not one that {self._beside.name} describes')
    for name in sorted(made_of.keys() | before.keys()):
      if made_of.get(name) != before.get(name):
        self._refuse(f'was made with other {name}')
    self._file.truncate(whole)
    lines = csv.reader(io.StringIO(text[:whole].decode()))
    if next(lines) != list(header):
      self._refuse('has other columns')
    return sum(1 for _ in lines)

  def _refuse(self, why: str):
    raise ConfigError(
      f'{self.path} exists and {why}; give another --output, or delete it'
    )

  def append(self, rows: Sequence[Sequence]) -> None:
    """Writes rows, at once; blanks take the place of ends of lines."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator='\n')
    writer.writerows(
      [' '.join(str(x).splitlines()) for x in row] for row in rows
    )
    self._file.write(lines.getvalue().encode())
    self._file.flush()

  def read(self) -> list[dict[str, str]]:
    """Returns all rows, by the names of the columns."""
    with self.path.open(newline='', encoding='utf-8') as file:
      return list(csv.DictReader(file))

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._file.close()
