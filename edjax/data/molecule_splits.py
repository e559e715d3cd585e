"""Splits of molecules into training, validation and test sets."""

import hashlib
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edjax.runtime import reading

PARTS = ('train', 'validation', 'test')
# Molecules of QM9, and those that failed the authors' consistency check.
N_MOLECULES = 133_885
N_UNCHARACTERIZED = 3_054


class _Published(NamedTuple):
  """A split of QM9 by one permutation, which ends with the test set."""

  seed: int
  n_train: int
  n_validation: int


# Permutations of the 130,831 characterised molecules, in the order of their
# ids, by numpy's legacy generator, as tensorflow_datasets 4.9.10 defines these
# two (datasets/qm9/qm9_dataset_builder.py) after the papers' own code:
# github.com/risilab/cormorant src/cormorant/data/prepare/qm9.py
# (arXiv 1906.04015) and github.com/gasteigerjo/dimenet
# dimenet/training/data_provider.py (arXiv 2003.03123).
PUBLISHED = {
  'cormorant': _Published(seed=0, n_train=100_000, n_validation=17_748),
  'dimenet': _Published(seed=42, n_train=110_000, n_validation=10_000),
}
NAMES = ('random', 'size', 'file', *PUBLISHED)


class Split(NamedTuple):
  """Ids of a dataset by part.

  Attributes:
    parts: 'train', 'validation' and names of test sets -> ids in the dataset,
      in the order of the split. Test sets may overlap each other.
    missing: part -> ids of the split that the dataset lacks; no entry where it
      lacks none.
  """

  parts: dict[str, tuple[str, ...]]
  missing: dict[str, tuple[str, ...]]

  @classmethod
  def of(cls, parts: Mapping[str, Sequence[str]], dataset: Collection[str]):
    """Returns the split of the ids in a dataset, and the missing ids."""
    present, missing = {}, {}
    for name, ids in parts.items():
      present[name] = tuple(key for key in ids if key in dataset)
      if len(present[name]) < len(ids):
        missing[name] = tuple(key for key in ids if key not in dataset)
    return cls(present, missing)

  @property
  def tests(self) -> dict[str, tuple[str, ...]]:
    """The test sets by name."""
    return {
      name: ids
      for name, ids in self.parts.items()
      if name not in ('train', 'validation')
    }

  def check_filled(self, label: str, size: int) -> None:
    """Checks that every part holds an id.

    Args:
      label: of the split, for the message.
      size: of the dataset.

    Raises:
      ValueError: a part is empty. Names it.
    """
    for name, ids in self.parts.items():
      if not ids:
        raise ValueError(
          f'{label} leaves nothing for {name} ({size} in the dataset; '
          f'{len(self.missing.get(name, ()))} of the split are not in it)'
        )


def make_split(
  name: str,
  ids: Sequence,
  heavy_atoms=None,
  seed: int = 0,
  fractions: tuple[float, float] = (0.1, 0.1),
  path: str = '',
  uncharacterized: Sequence[int] | None = None,
) -> Split:
  """Splits a dataset.

  'random' sorts the molecules by a hash of seed and id, so that neither the
  order of the dataset nor a numpy version matters. 'size' tests on the
  molecules with the most heavy atoms (9 in QM9) and divides the smaller ones
  at random. 'file' reads lists of ids. 'cormorant' and 'dimenet' are the
  published splits of QM9, as far as the dataset holds their molecules.

  Args:
    name: one of NAMES.
    ids: [N] distinct ids: numbers, or texts that end in _<number>.
    heavy_atoms: [N] number of atoms heavier than hydrogen, for 'size'.
    seed: of 'random' and 'size'.
    fractions: of validation and test, together less than 1, for 'random' and
      'size' (which takes its test set by size and ignores the second).
    path: for 'file': a JSON file {"train": [...], "validation": [...],
      "test": [...]}, or a directory with train.txt, validation.txt and
      test.txt, one id a line; an id is a text or a number.
    uncharacterized: the 3,054 ids of uncharacterized.txt, which 'cormorant' and
      'dimenet' leave out of their permutations.

  Returns:
    The split, with one test set, 'test'.

  Raises:
    ValueError: the name is unknown, an argument that the split needs is missing
      or wrong, ids are repeated, or a part is empty (it is named).
    FileNotFoundError: there is no such file.
  """
  keys = [str(i) for i in ids]
  rows = {key: row for row, key in enumerate(keys)}
  if len(rows) != len(keys):
    raise ValueError(f'{len(keys)} ids, but {len(rows)} different ones')
  if name in ('random', 'size'):
    ordered = hash_order(keys, seed)
    if name == 'random':
      parts = _by_fraction(ordered, fractions)
    else:
      parts = _by_size(ordered, rows, heavy_atoms, fractions[0])
  elif name == 'file':
    parts = _from_file(path, keys)
  elif name in PUBLISHED:
    parts = _translated(published(name, uncharacterized), keys)
  else:
    raise ValueError(f'unknown split {name!r} (known: {", ".join(NAMES)})')
  split = Split.of({part: parts[part] for part in PARTS}, rows)
  of_file = f' of {path}' if name == 'file' else ''
  split.check_filled(f'split {name!r}{of_file}', len(keys))
  return split


def published(name: str, uncharacterized: Sequence[int] | None) -> dict:
  """Returns a published split of the whole of QM9.

  Args:
    name: a key of PUBLISHED.
    uncharacterized: the 3,054 left-out ids.

  Returns:
    {part: [*] gdb ids, 1 to 133,885}.

  Raises:
    ValueError: uncharacterized is missing or not 3,054 ids of QM9.
  """
  if uncharacterized is None:
    raise ValueError(
      f'split {name!r} permutes the molecules of QM9 that are not in '
      'uncharacterized.txt: put that file '
      '(https://springernature.figshare.com/ndownloader/files/3195404) into '
      'the manual directory and delete DATA_DIR/edjax_qm9, so that the dataset '
      'is built again'
    )
  left_out = {int(i) for i in uncharacterized}
  everything = set(range(1, N_MOLECULES + 1))
  if len(left_out) != N_UNCHARACTERIZED or not left_out <= everything:
    raise ValueError(
      f'expected {N_UNCHARACTERIZED} different uncharacterized ids from 1 to '
      f'{N_MOLECULES}, got {len(left_out)}'
    )
  seed, n_train, n_validation = PUBLISHED[name]
  # These splits are defined by the legacy generator.
  generator = np.random.RandomState(seed)
  order = generator.permutation(np.array(sorted(everything - left_out)))
  end = n_train + n_validation
  return {
    'train': order[:n_train],
    'validation': order[n_train:end],
    'test': order[end:],
  }


def _by_fraction(ordered: list, fractions) -> dict:
  validation, test = fractions
  if min(validation, test) < 0 or validation + test >= 1:
    raise ValueError(
      f'fractions={tuple(fractions)} of validation and test must not be '
      'negative and must leave some training set'
    )
  n_test = round(test * len(ordered))
  n_validation = round(validation * len(ordered))
  # Test first: it stays the same when the share of validation changes.
  return {
    'test': ordered[:n_test],
    'validation': ordered[n_test : n_test + n_validation],
    'train': ordered[n_test + n_validation :],
  }


def _by_size(ordered: list, rows: dict, heavy_atoms, fraction) -> dict:
  if heavy_atoms is None or len(heavy_atoms) != len(rows):
    raise ValueError("split 'size' needs heavy_atoms, one number per id")
  largest = max(heavy_atoms)
  small = [k for k in ordered if heavy_atoms[rows[k]] < largest]
  parts = _by_fraction(small, (fraction, 0.0))
  return {
    **parts,
    'test': [k for k in ordered if heavy_atoms[rows[k]] == largest],
  }


def _from_file(path: str, keys: list) -> dict:
  parts = _read(path)
  try:
    return _translated(parts, keys)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def _read(path: str) -> dict:
  """Reads lists of ids by part."""
  if not path:
    raise ValueError("split 'file' needs a path")
  where = pathlib.Path(path)
  if where.is_dir():
    with reading.naming(path):
      return {p: reading.text(where / f'{p}.txt').split() for p in PARTS}
  parts = reading.read_json(where)
  if (
    not isinstance(parts, dict)
    or set(parts) != set(PARTS)
    or not all(isinstance(ids, list) for ids in parts.values())
  ):
    raise ValueError(f'{path} must have the lists {", ".join(PARTS)}')
  return parts


def _translated(parts: dict, keys: list) -> dict:
  """Returns the parts with the dataset's ids; numbers match their endings."""
  names = {}
  for key in keys:
    ending = key.rsplit('_', 1)[-1]
    if ending.isdecimal():
      names.setdefault(int(ending), []).append(key)
  known = set(keys)

  def translate(i):
    text = str(i)
    if text in known or not text.isdecimal():
      return text
    found = names.get(int(text), [text])
    if len(found) > 1:
      raise ValueError(f'ids {found[0]} and {found[1]} have one number: {text}')
    return found[0]

  parts = {part: [translate(i) for i in parts[part]] for part in PARTS}
  seen = {}
  for part in PARTS:
    for key in parts[part]:
      if key in seen:
        raise ValueError(f'id {key} is in {seen[key]} and again in {part}')
      seen[key] = part
  return parts


def hash_order(keys: Iterable[str], seed: int | str) -> list[str]:
  """Sorts keys by a hash of seed and key, whatever their order was."""
  return sorted(
    keys, key=lambda key: hashlib.sha256(f'{seed}:{key}'.encode()).digest()
  )
