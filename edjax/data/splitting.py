"""Makes the training, validation and test rows of a dataset."""

import dataclasses
import fractions
import hashlib
import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from edjax import datasets
from edjax.config import ConfigError
from edjax.data import (
  complex_splits,
  grouped_splits,
  molecule_splits,
  packed_dataset,
  pdb_ids,
)
from edjax.data.molecule_splits import Split


@dataclasses.dataclass(frozen=True)
class Rows:
  """Rows of a pack in the three parts of a split.

  Attributes:
    train, validation, test: [n] row numbers.
    pool: number of rows that the training subset was drawn from.
    sha256: of the ids in the three parts.
    missing: number of ids of a published split or a file that the pack lacks.
    missing_ids: part -> these ids, for complexes; else empty.
    test_sets: name -> positions in `test`, if there are several test sets; else
      empty.
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
  """Makes the split of `config.data`, and draws the training subset.

  Molecules without a label, of which no target was measured, are in no part.
  Subsets of one subset_seed are nested: a larger one contains the smaller
  ones. With a validation_share, their training parts are nested, and their
  validation parts.

  Args:
    source: the pack.
    data: `config.data`.

  Raises:
    ConfigError: the split cannot be made or has an empty part, or train_size
      asks for too many or too few molecules.
  """
  try:
    split = _measured(_split(source, data), source, data)
  except ValueError as error:
    raise ConfigError(f'config.data.split: {error}') from error
  train, validation = split.parts['train'], split.parts['validation']
  limit = data.max_eval or None
  pool, fewest = train, 1
  if data.validation_share:
    pool, fewest = train + validation, 2
  size = data.train_size
  count = round(size * len(pool)) if size <= 1 else int(size)
  if not fewest <= count <= len(pool):
    raise ConfigError(
      f'config.data.train_size={size} asks for {count} of {len(pool)} '
      + ('molecules' if data.validation_share else 'training molecules')
      + f'; at least {fewest}'
    )
  # By a hash of seed and id: larger subsets begin with smaller ones, and in a
  # variant of the dataset with fewer molecules the order stays the same.
  train = molecule_splits.hash_order(pool, f'subset {data.subset_seed}')[:count]
  if data.validation_share:
    train, validation = _divide(train, data.validation_share)
  else:
    validation = molecule_splits.hash_order(validation, f'eval {data.seed}')
    validation = validation[:limit]
  test = set().union(*split.tests.values())
  test = molecule_splits.hash_order(test, f'eval {data.seed}')[:limit]
  parts = {'train': train, 'validation': validation, 'test': test}
  digest = hashlib.sha256()
  for part, ids in parts.items():
    digest.update('\n'.join([part, *sorted(ids), '']).encode())
  row_of = {name: row for row, name in enumerate(source.ids)}
  return Rows(
    **{
      part: np.array([row_of[name] for name in ids], np.int64)
      for part, ids in parts.items()
    },
    pool=len(pool),
    sha256=digest.hexdigest(),
    missing=sum(map(len, split.missing.values())),
    missing_ids=split.missing if data.split in datasets.COMPLEX_SPLITS else {},
    test_sets=_positions(test, split.tests),
  )


def _divide(ids: list, share: float) -> tuple[list, list]:
  """Divides ids in two lists, of which the second has the share, rounded up.

  The position of an id decides its list, so that lists of fewer ids are nested
  in those of more.
  """
  share = fractions.Fraction(str(share))  # exact: as floats, 3 * 0.1 > 0.3
  ends = [math.ceil(i * share) for i in range(len(ids) + 1)]
  sides = [], []
  for name, begin, end in zip(ids, ends[:-1], ends[1:], strict=True):
    sides[end > begin].append(name)
  return sides


def unmeasured(source: packed_dataset.Pack, data) -> np.ndarray:
  """Returns which molecules have a value of none of the targets, [N]."""
  columns_TN = [source.columns[name] for name in data.targets]
  return np.isnan(columns_TN).all(axis=0)


def _measured(split: Split, source: packed_dataset.Pack, data) -> Split:
  """Leaves out molecules that have a value of none of the targets."""
  none_N = unmeasured(source, data)
  if not none_N.any():
    return split
  left_out = {source.ids[row] for row in np.flatnonzero(none_N)}
  parts = {
    part: tuple(name for name in ids if name not in left_out)
    for part, ids in split.parts.items()
  }
  split = split._replace(parts=parts)
  split.check_filled(
    f'{data.split!r}, without molecules that have no value of '
    f'{", ".join(data.targets)},',
    len(source) - len(left_out),
  )
  return split


def _split(source: packed_dataset.Pack, data) -> Split:
  """Returns the split before subsets are drawn."""
  if data.split == 'scaffold':
    scaffold_of = dict(
      zip(source.ids, source.columns['scaffold'].tolist(), strict=True)
    )
    shares = data.validation_fraction, data.test_fraction
    return grouped_splits.by_scaffold(scaffold_of, data.seed, shares)
  if data.split == 'column':
    return grouped_splits.by_column(source.ids, source.columns['split_part'])
  if data.split in datasets.COMPLEX_SPLITS:
    return _complex_split(source, data)
  return molecule_splits.make_split(
    data.split,
    ids=source.ids,
    heavy_atoms=source.heavy_atoms(),
    seed=data.seed,
    fractions=(data.validation_fraction, data.test_fraction),
    path=data.split_file,
    uncharacterized=source.uncharacterized,
  )


def _complex_split(source: packed_dataset.Pack, data) -> Split:
  """Returns the split of complexes, whose ids have any case in its lists."""
  name_of = {pdb_ids.key(name): name for name in source.ids}
  split = _split_of_keys(source, list(name_of), data)
  parts = {
    part: tuple(name_of[key] for key in keys)
    for part, keys in split.parts.items()
  }
  return split._replace(parts=parts)


def _split_of_keys(source: packed_dataset.Pack, ids: list[str], data) -> Split:
  columns = source.columns
  cluster_of = dict(zip(ids, columns['cluster'].tolist(), strict=True))
  if data.split == 'clusters':
    return complex_splits.grouped_kfold(
      cluster_of, data.folds, data.fold, data.seed
    )
  if data.split == 'time':
    years = dict(zip(ids, columns['year'].astype(int), strict=True))
    parts = complex_splits.by_time(years, data.split_year)
  elif data.split == 'refined_core':
    refined, core = (
      [ids[row] for row in np.flatnonzero(columns[name])]
      for name in ('refined', 'core')
    )
    parts = complex_splits.refined_core(refined, core)
  else:
    parts = complex_splits.read(pathlib.Path(data.split_file).expanduser())
  split = complex_splits.make_split(
    ids, parts, cluster_of, data.validation_fraction, data.seed
  )
  seen = {*split.parts['train'], *split.parts['validation']}
  for name, ids in split.tests.items():
    if leaks := seen.intersection(ids):
      print(f'{name}: {len(leaks)} of its ids are in the training data as well')
  return complex_splits.with_clean_tests(split, cluster_of)


def _positions(
  test: Sequence[str], tests: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
  """Returns the positions of each of several test sets in the test ids.

  Test sets that config.data.max_eval has emptied are left out.
  """
  if len(tests) < 2:
    return {}
  positions = {
    name: np.flatnonzero(np.isin(test, ids)) for name, ids in tests.items()
  }
  return {name: chosen for name, chosen in positions.items() if len(chosen)}
