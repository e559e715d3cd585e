"""Splits of molecules by scaffold, or as a column of the source has it."""

from collections.abc import Mapping, Sequence

import numpy as np

from edjax.data import molecule_splits
from edjax.data.molecule_splits import PARTS, Split


def by_scaffold(
  scaffold_of: Mapping[str, float], seed: int, fractions: tuple[float, float]
) -> Split:
  """Splits molecules so that those of one scaffold are in one part.

  Scaffolds of more molecules than half of the test part are for training: one
  of them would be most of what is tested. The others, in the order of a hash of
  seed and scaffold, fill the test part, then validation, and the rest trains.

  Args:
    scaffold_of: id -> number of its scaffold.
    seed: of the order.
    fractions: of validation and test.

  Raises:
    ValueError: a molecule has no scaffold since its bonds are not known, or a
      part is empty.
  """
  lacking = [name for name, group in scaffold_of.items() if np.isnan(group)]
  if lacking:
    raise ValueError(
      f"split 'scaffold' needs bonds, which {len(lacking)} of "
      f'{len(scaffold_of)} molecules lack (such as {lacking[0]}): files of '
      'coordinates alone have none'
    )
  groups = {}
  for name, group in scaffold_of.items():
    groups.setdefault(f'{group:.0f}', []).append(name)
  n_validation, n_test = (round(f * len(scaffold_of)) for f in fractions)
  parts = {part: [] for part in PARTS}
  for key in molecule_splits.hash_order(groups, seed):
    names = groups[key]
    part = 'train'
    if len(names) <= max(n_test / 2, 1):
      if len(parts['test']) + len(names) <= n_test:
        part = 'test'
      elif len(parts['validation']) + len(names) <= n_validation:
        part = 'validation'
    parts[part] += names
  split = Split.of(parts, scaffold_of)
  split.check_filled("split 'scaffold'", len(scaffold_of))
  return split


def by_column(ids: Sequence[str], part_N) -> Split:
  """Splits molecules as their source does.

  Args:
    ids: [N].
    part_N: places in `molecule_splits.PARTS`.

  Raises:
    ValueError: a part is empty.
  """
  parts = {
    part: [ids[row] for row in np.flatnonzero(np.asarray(part_N) == place)]
    for place, part in enumerate(PARTS)
  }
  split = Split.of(parts, set(ids))
  split.check_filled("split 'column'", len(ids))
  return split
