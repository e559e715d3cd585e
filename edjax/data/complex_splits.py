"""Splits of complexes into training, validation and test sets of PDB ids.

A published split is a dict: 'train', 'validation' (may be missing) and, under
any other name, test sets -> PDB ids. It may have several test sets, for
instance a leaky one and a clean one.
"""

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from edjax.data import molecule_splits, pdb_ids
from edjax.data.molecule_splits import Split
from edjax.data.pdb_ids import complex_id, pdb_id, read_ids
from edjax.runtime import reading

# A split as published.
Parts = Mapping[str, Sequence[str]]

TRAIN, VALIDATION = 'train', 'validation'
# Files of the time split of EquiBind and DiffDock in DiffDock's repository
# (github.com/gcorso/DiffDock, data/splits). Other files there are parts of
# these, or lists for docking that overlap the training set.
DIFFDOCK = {
  TRAIN: 'timesplit_no_lig_overlap_train',
  VALIDATION: 'timesplit_no_lig_overlap_val',
  'timesplit_test': 'timesplit_test',
  'timesplit_test_no_rec_overlap': 'timesplit_test_no_rec_overlap',
}
# Published names of these parts, in lower case.
_PARTS = {
  'train': TRAIN, 'val': VALIDATION, 'valid': VALIDATION,
  'validation': VALIDATION,
}  # fmt: skip


def make_split(
  ids: Iterable[str],
  parts: Parts,
  clusters: Mapping[str, str] | None = None,
  validation: float = 0.1,
  seed: int = 0,
) -> Split:
  """Applies a published split to a dataset.

  If the split has no validation set, a share of the training set becomes one:
  whole clusters where clusters are known, so that early stopping does not
  reward memorised relatives. Ids that are published in a test set and in
  another part stay in both.

  Args:
    ids: of the dataset; case does not matter.
    parts: the split (`refined_core`, `by_time`, `read`, ...).
    clusters: PDB id -> cluster, for all of `ids`.
    validation: share of the training set, where the split has no validation.
    seed: of the choice of validation.

  Raises:
    ValueError: a part is empty; an id is in train and validation, or twice in
      one part. Names the part or id.
  """
  dataset = _distinct(ids)
  parts = {name: list(map(pdb_ids.key, keys)) for name, keys in parts.items()}
  if not parts.keys() - {TRAIN, VALIDATION}:
    raise ValueError('the split has no test set')
  _check_repeated(parts)
  split = Split.of(parts, dataset)
  train, held_out = split.parts[TRAIN], split.parts.get(VALIDATION)
  if held_out is None:
    held_out = tuple(_held_out(train, clusters, validation, seed))
    rest = set(train).difference(held_out)
    train = tuple(key for key in train if key in rest)
  parts = {TRAIN: train, VALIDATION: held_out, **split.tests}
  split = split._replace(parts=parts)
  split.check_filled('the split', len(dataset))
  return split


def with_clean_tests(split: Split, clusters: Mapping[str, str]) -> Split:
  """Adds '<name>_clean' for every test set: its ids of unseen clusters.

  A cluster is seen if it occurs in train or in validation, which chose the
  model. Empty clean sets are left out; those equal to the test set are not.

  Args:
    split: any split.
    clusters: PDB id -> cluster, for all ids of the split.
  """
  seen = {clusters[k] for p in (TRAIN, VALIDATION) for k in split.parts[p]}
  parts = {name: split.parts[name] for name in (TRAIN, VALIDATION)}
  for name, keys in split.tests.items():
    parts[name] = keys
    clean = tuple(key for key in keys if clusters[key] not in seen)
    if clean:
      parts[f'{name}_clean'] = clean
  return split._replace(parts=parts)


def refined_core(refined: Iterable[str], core: Iterable[str]) -> Parts:
  """Returns the refined set without the core set as 'train', and 'core'.

  Args:
    refined: PDB ids of the refined set.
    core: PDB ids of the core set (CASF).

  Returns:
    The parts, without validation; the test set is 'core'.
  """
  core = _distinct(core)
  train = [key for key in _distinct(refined) if key not in core]
  return {TRAIN: train, 'core': list(core)}


def by_time(years: Mapping[str, int], test_from: int) -> Parts:
  """Returns the complexes before a year as 'train', and the others as 'test'.

  Args:
    years: PDB id -> year of release; 0 where unknown: left out.
    test_from: first year of the test set.

  Returns:
    The parts, without validation.
  """
  parts = {TRAIN: [], 'test': []}
  for key, year in sorted(years.items()):
    if year:
      parts['test' if year >= test_from else TRAIN].append(key)
  return parts


def folds(
  clusters: Mapping[str, str], k: int, seed: int = 0
) -> list[list[str]]:
  """Divides ids into k folds of about the same size that share no cluster.

  The clusters, the largest first and equal ones in the order of a hash, go to
  the smallest fold so far.

  Args:
    clusters: PDB id -> cluster.
    k: number of folds.
    seed: of the order of equal clusters.

  Returns:
    Ids of each fold, sorted.

  Raises:
    ValueError: k is more than there are clusters.
  """
  members = {}
  for key, name in sorted(clusters.items()):
    members.setdefault(name, []).append(key)
  if k > len(members):
    raise ValueError(f'{k} folds of {len(members)} clusters')
  ordered = molecule_splits.hash_order(members, seed)
  parts = [[] for _ in range(k)]
  # sorted() keeps the order of the hash among clusters of one size.
  for name in sorted(ordered, key=lambda name: -len(members[name])):
    min(parts, key=len).extend(members[name])
  return [sorted(part) for part in parts]


def grouped_kfold(
  clusters: Mapping[str, str], k: int, fold: int, seed: int = 0
) -> Split:
  """Returns one round of cross-validation over clusters.

  Fold `fold` is the test set and the next one the validation set. Folds share
  no cluster.

  Args:
    clusters: PDB id -> cluster, of the whole dataset.
    k: number of folds, at least 3.
    fold: 0 to k - 1.
    seed: as for `folds`; the same for all rounds.

  Raises:
    ValueError: k is more than there are clusters.
  """
  parts = folds(clusters, k, seed)
  other = (fold + 1) % k
  train = sorted(
    key for i in range(k) if i not in (fold, other) for key in parts[i]
  )
  named = {TRAIN: train, VALIDATION: parts[other], 'test': parts[fold]}
  return make_split(clusters, named)


def read(path) -> Parts:
  """Reads a published split in one of these formats.

  - a csv with the column new_split: LP-PDBBind (`read_lp_pdbbind`);
  - a .json file: CleanSplit, or any {part: ids} (`read_json`);
  - a directory with DiffDock's time split, or one list of ids a part:
    train.txt, val.txt (valid, validation), and any other *.txt a test set
    (ATOM3D), or *.csv with the PDB id in the column pdbid (GIGN).

  Args:
    path: of the file or directory.

  Raises:
    ValueError: the format is another one, or the content is wrong.
    FileNotFoundError: there is no such file.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(f'there is no split {path}')
  if path.is_dir():
    if all((path / name).is_file() for name in DIFFDOCK.values()):
      files = {part: path / name for part, name in DIFFDOCK.items()}
    else:
      files = _named_files(path)
    return {part: _read_list(file) for part, file in files.items()}
  if path.suffix.lower() == '.json':
    return read_json(path)
  if path.suffix.lower() == '.csv':
    return read_lp_pdbbind(path)
  raise ValueError(
    f"{path} is neither LP-PDBBind's csv, nor a .json file, nor a directory "
    'with one list of ids a part'
  )


def read_json(path) -> Parts:
  """Reads {part: [PDB id, ...]}.

  CleanSplit is such a file (`PDBbind_data_split_cleansplit.json` of
  github.com/camlab-ethz/GEMS; Graber et al., Nat. Mach. Intell. 2025): train,
  and the test sets casf2016, casf2013, casf2016_indep and casf2013_indep.

  Args:
    path: of the file.

  Raises:
    ValueError: the format is another one, or there is no training set.
    FileNotFoundError: there is no such file.
  """
  data = reading.read_json(path)
  if not isinstance(data, dict) or not all(
    isinstance(keys, list) for keys in data.values()
  ):
    raise ValueError(f'{path} must be {{part: [PDB id, ...]}}')
  parts = {}
  for name, keys in data.items():
    part = _PARTS.get(name.lower(), name)
    if part in parts:
      raise ValueError(f'{path} has two lists for {part}')
    parts[part] = tuple(_id(key, path) for key in keys)
  if TRAIN not in parts:
    raise ValueError(
      f'{path} has no {TRAIN} among {", ".join(data) or "nothing"}'
    )
  return parts


def read_lp_pdbbind(path) -> Parts:
  """Reads LP-PDBBind (github.com/THGLab/LP-PDBBind, dataset/LP_PDBBind.csv).

  Li et al., arXiv 2308.09639. The first column has no name and is the PDB id;
  new_split is train, val, test or empty; CL1 (the first of three levels of
  cleaning) and covalent are True or False. Like the authors, it takes complexes
  of CL1 without a covalent ligand.

  Args:
    path: of the file.

  Raises:
    ValueError: a column is missing, or has other values.
    FileNotFoundError: there is no such file.
  """
  parts = {TRAIN: [], VALIDATION: [], 'test': []}
  for row in _table(path, ('', 'new_split', 'CL1', 'covalent')):
    key = _id(row[''], path, pdb_id)
    part = row['new_split'].strip()
    if part not in ('train', 'val', 'test', ''):
      raise ValueError(f'{path}: {key} has new_split {part!r}')
    clean = part and _boolean(row, 'CL1', path)
    if clean and not _boolean(row, 'covalent', path):
      parts[_PARTS.get(part, part)].append(key)
  return parts


def _check_repeated(parts: Parts) -> None:
  """Raises on ids that are in train and validation, or twice in one part."""
  tests = [(name,) for name in parts if name not in (TRAIN, VALIDATION)]
  for disjoint in ((TRAIN, VALIDATION), *tests):
    owner = {}
    for part in disjoint:
      for key in parts.get(part, ()):
        if key in owner:
          raise ValueError(f'{key} is in {owner[key]} and again in {part}')
        owner[key] = part


def _held_out(train: Sequence[str], clusters, share: float, seed: int) -> list:
  """Chooses part of a training set, whole clusters where they are known."""
  if not 0 < share < 1:
    raise ValueError(f'validation={share} must be a share between 0 and 1')
  wanted = max(1, round(share * len(train)))
  if clusters is None:
    return molecule_splits.hash_order(train, seed)[:wanted]
  members = {}
  for key in train:
    members.setdefault(clusters[key], []).append(key)
  ordered = molecule_splits.hash_order(members, seed)
  chosen = []
  for name in ordered:
    if len(chosen) + len(members[name]) <= wanted:
      chosen.extend(members[name])
  # If every cluster is larger than `wanted`, take the smallest one.
  return chosen or list(
    min((members[name] for name in ordered), key=len, default=())
  )


def _distinct(ids: Iterable[str]) -> dict[str, None]:
  """Returns ids as keys, in their order."""
  result = {}
  for text in ids:
    key = pdb_ids.key(text)
    if key in result:
      raise ValueError(f'{key} is there twice')
    result[key] = None
  return result


def _named_files(path: pathlib.Path) -> dict[str, pathlib.Path]:
  files = {}
  for file in sorted(path.iterdir()):
    hidden = file.name.startswith('.')  # macOS's ._train.txt
    if file.suffix.lower() in ('.txt', '.csv') and not hidden:
      part = _PARTS.get(file.stem.lower(), file.stem)
      if part in files:
        raise ValueError(f'{path} has {files[part].name} and {file.name}')
      files[part] = file
  if TRAIN not in files:
    raise ValueError(
      f'{path} has neither train.txt nor train.csv nor '
      f'{", ".join(DIFFDOCK.values())}'
    )
  return files


def _read_list(path: pathlib.Path) -> tuple[str, ...]:
  if path.suffix.lower() == '.csv':
    return tuple(_id(row['pdbid'], path) for row in _table(path, ('pdbid',)))
  return read_ids(path)


def _table(path, needed: Sequence[str]) -> list[dict[str, str]]:
  with reading.naming(path):
    reader = csv.DictReader(io.StringIO(reading.text(path), newline=''))
    header = reader.fieldnames or []
    for name in needed:
      if name not in header:
        raise ValueError(
          f'{path} has no column {name!r}; it has '
          f'{", ".join(map(repr, header)) or "none"}'
        )
    rows = list(reader)
  for row in rows:
    if None in row or None in row.values():  # more fields, or fewer
      raise ValueError(
        f'{path}: the row {list(row.values())[:3]}... has not the '
        f'{len(header)} fields of the header'
      )
  return rows


def _id(text, path, parse=complex_id) -> str:
  try:
    return parse(text)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def _boolean(row: Mapping[str, str], column: str, path) -> bool:
  if row[column] not in ('True', 'False'):
    raise ValueError(f'{path}: {row[""]} has {column} {row[column]!r}')
  return row[column] == 'True'
