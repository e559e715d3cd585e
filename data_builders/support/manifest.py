"""The manifest of a dataset: a table beside it, a row for each record."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from etils import epath

NAME = 'manifest.csv'


def write(directory, columns: Sequence[str], rows: Iterable[Mapping]) -> None:
  """Writes manifest.csv into a directory.

  Args:
    directory: of the dataset.
    columns: of the table.
    rows: with keys of `columns`; missing ones stay empty, mappings are written
      as JSON.

  Raises:
    ValueError: a row has a key that is no column.
  """
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, columns, restval='')
  writer.writeheader()
  for row in rows:
    writer.writerow(
      {
        key: json.dumps(value, sort_keys=True)
        if isinstance(value, Mapping)
        else value
        for key, value in row.items()
      }
    )
  path = epath.Path(directory) / NAME
  path.write_bytes(text.getvalue().encode('utf-8'))
