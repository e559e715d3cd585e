"""Training, validation and test rows of a dataset."""

import dataclasses
import fractions
import hashlib
import math
import pathlib
import types
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edjax import datasets
from edjax.config import ConfigError
from edjax.data import packed_dataset


@dataclasses.dataclass(frozen=True)
class Rows:
  """Rows of a pack in the three parts of a split.

  Attributes:
    train, validation, test: [n] row numbers.
    pool: how many rows the training subset was drawn from.
    sha256: of the ids in the three parts.
    missing: ids that a published split or a file names and the pack lacks.
    missing_ids: part -> which these are, of complexes; else empty.
    test_sets: name -> positions in `test`, where the split has several test
      sets; else empty.
  """

  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray
  pool: int
  sha256: str
  missing: int
  missing_ids: Mapping[str, Sequence[str]]
  test_sets: dict[str, np.ndarray]


def make_split(source: packed_dataset.Pack, data) -> Rows:
  """The split of `config.data`, with the training subset drawn.

  Subsets of one subset_seed are nested: a larger one contains the smaller
  ones. With a validation_share, so are their training and their validation
  molecules.

  Args:
    source: the pack.
    data: `config.data`.

  Raises:
    ConfigError: the split cannot be made or leaves a part empty, or
      train_size asks for more than there is, or for nothing.
  """
  try:
    split = _split(source, data)
  except ValueError as error:
    raise ConfigError(f'config.data.split: {error}') from error
  limit = data.max_eval or None
  pool, fewest = split.train, 1
  if data.validation_share:
    pool, fewest = np.concatenate([split.train, split.validation]), 2
  size = data.train_size
  count = round(size * len(pool)) if size <= 1 else int(size)
  if not fewest <= count <= len(pool):
    raise ConfigError(
      f'config.data.train_size={size} asks for {count} of {len(pool)} '
      + ('molecules' if data.validation_share else 'training molecules')
      + f'; at least {fewest}'
    )
  train = _draw(source, pool, count, f'subset {data.subset_seed}')
  if data.validation_share:
    train, validation = _divide(train, data.validation_share)
  else:
    validation = _draw(source, split.validation, limit, f'eval {data.seed}')
  test = _draw(source, split.test, limit, f'eval {data.seed}')
  parts = {'train': train, 'validation': validation, 'test': test}
  digest = hashlib.sha256()
  for part, rows in parts.items():
    names = sorted(source.ids[row] for row in rows)
    digest.update('\n'.join([part, *names, '']).encode())
  return Rows(
    **parts,
    pool=len(pool),
    sha256=digest.hexdigest(),
    missing=split.missing,
    missing_ids=split.missing_ids,
    test_sets=_test_sets(source, parts['test'], split.tests),
  )


def _draw(source, rows, count: int | None, seed: str) -> np.ndarray:
  """Some rows at random; a larger count begins with those of a smaller.

  By a hash of seed and id: where another variant of the dataset lacks some
  molecules, the others are drawn as before.
  """
  from edjax.data import molecule_splits

  row_of = {source.ids[row]: row for row in rows}
  ordered = molecule_splits.hash_order(row_of, seed)[:count]
  return np.array([row_of[name] for name in ordered], np.int64)


def _divide(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
  """Rows in two, of which the second has the share, rounded up.

  A row's side follows from its position, so that both are nested in the
  number of rows.
  """
  share = fractions.Fraction(str(share))  # exact: as floats, 3 * 0.1 > 0.3
  ends = [math.ceil(i * share) for i in range(len(rows) + 1)]
  chosen = np.diff(ends) > 0
  return rows[~chosen], rows[chosen]


class _Split(NamedTuple):
  """A split before subsets are drawn: rows, and ids of each test set."""

  train: np.ndarray
  validation: np.ndarray
  test: np.ndarray
  missing: int
  missing_ids: Mapping[str, Sequence[str]] = types.MappingProxyType({})
  tests: Mapping[str, Collection[str]] = types.MappingProxyType({})


def _split(source: packed_dataset.Pack, data) -> _Split:
  if data.split in datasets.COMPLEX_SPLITS:
    return _affinity_split(source, data)
  from edjax.data import molecule_splits

  split = molecule_splits.make_split(
    data.split,
    ids=source.ids,
    heavy_atoms=source.heavy_atoms(),
    seed=data.seed,
    fractions=(data.validation_fraction, data.test_fraction),
    path=data.split_file,
    uncharacterized=source.uncharacterized,
  )
  missing = sum(split.missing.values())
  return _Split(split.train, split.validation, split.test, missing)


def _affinity_split(source: packed_dataset.Pack, data) -> _Split:
  from edjax.data import complex_splits

  columns = source.columns
  cluster_of = dict(zip(source.ids, columns['cluster'].tolist(), strict=True))
  if data.split == 'clusters':
    split = complex_splits.grouped_kfold(
      cluster_of, data.folds, data.fold, data.seed
    )
  else:
    if data.split == 'time':
      years = dict(zip(source.ids, columns['year'].astype(int), strict=True))
      lists = complex_splits.time(years, data.split_year)
    elif data.split == 'refined_core':
      refined, core = (
        [source.ids[row] for row in np.flatnonzero(columns[name])]
        for name in ('refined', 'core')
      )
      lists = complex_splits.refined_core(refined, core)
    else:
      lists = complex_splits.read(pathlib.Path(data.split_file).expanduser())
    split = complex_splits.make_split(
      source.ids,
      lists,
      clusters=cluster_of,
      validation=data.validation_fraction,
      seed=data.seed,
      allow_leaks=True,
    )
    split = complex_splits.with_clean_tests(split, cluster_of)
  for name, keys in split.leaks.items():
    print(f'{name}: {len(keys)} of its ids are in the training data as well')
  row_of = {key: row for row, key in enumerate(source.ids)}
  test = sorted(set().union(*split.tests.values()))
  train, validation, test = (
    np.array([row_of[key] for key in keys], np.int64)
    for keys in (split.train, split.validation, test)
  )
  missing = sum(map(len, split.missing.values()))
  return _Split(train, validation, test, missing, split.missing, split.tests)


def _test_sets(source, test_rows, tests) -> dict[str, np.ndarray]:
  """Positions in the test rows of each of several test sets.

  Without those of which config.data.max_eval has left nothing.
  """
  if len(tests) < 2:
    return {}
  ids = [source.ids[row] for row in test_rows]
  found = {
    name: np.flatnonzero(np.isin(ids, list(members)))
    for name, members in tests.items()
  }
  return {name: chosen for name, chosen in found.items() if len(chosen)}
