"""Finished regressions: a table of errors, and the predictions behind it.

It needs numpy alone, so that peers in environments of their own add rows.
"""

import csv
import pathlib

import numpy as np

KEY = ('features', 'method', 'labels', 'subset_seed')


class Rows:
  """Errors in a CSV file, predictions of test molecules in a directory.

  Args:
    table: CSV file, made with its first row: the fields of `KEY`, seconds, and
      the mean absolute error of each target.
    directory: of predictions, a file each row.
    columns: titles of the targets' columns.
  """

  def __init__(
    self, table: pathlib.Path, directory: pathlib.Path, columns: list[str]
  ):
    self._table, self._directory, self._columns = table, directory, columns
    directory.mkdir(parents=True, exist_ok=True)
    self._seconds = {}
    if table.exists():
      with table.open(encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
          key = row['features'], row['method'], *(int(row[k]) for k in KEY[2:])
          self._seconds[key] = float(row['seconds'])

  def __contains__(self, key: tuple[str, str, int, int]) -> bool:
    """Whether a regression is in the table and its predictions are here."""
    return key in self._seconds and self._path(key).exists()

  def finished(self) -> list[tuple[str, str, int, int]]:
    """Returns the regressions whose predictions are here, in their order."""
    return [key for key in self._seconds if key in self]

  def seconds(self, key) -> float:
    """Returns how long a regression took."""
    return self._seconds[key]

  def predictions(self, key) -> np.ndarray:
    """Returns the predictions of the test molecules, [N, T]."""
    return np.load(self._path(key))

  def add(self, key, seconds: float, prediction_NT, target_NT) -> None:
    """Keeps the predictions, then adds a row, unless the table has it.

    Args:
      key: features, method, number of labels, seed of the subset.
      seconds: that fitting and predicting took.
      prediction_NT: of the test molecules, in the units of the columns.
      target_NT: true values.
    """
    np.save(self._path(key), np.asarray(prediction_NT, np.float32))
    if key in self._seconds:
      return
    errors_T = np.abs(np.asarray(prediction_NT) - target_NT).mean(0)
    is_new = not self._table.exists()
    self._table.parent.mkdir(parents=True, exist_ok=True)
    with self._table.open('a', encoding='utf-8', newline='') as file:
      writer = csv.writer(file, lineterminator='\n')
      if is_new:
        writer.writerow([*KEY, 'seconds', *self._columns])
      writer.writerow(
        [*key, f'{seconds:.2f}', *(f'{error:.6g}' for error in errors_T)]
      )
    self._seconds[key] = seconds

  def _path(self, key) -> pathlib.Path:
    return self._directory / ('-'.join(map(str, key)) + '.npy')
