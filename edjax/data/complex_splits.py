"""Which complex is for training, validation and testing, in terms of PDB ids.

Pure functions, and readers of splits as others published them. A split may
have several test sets, for instance a leaky one and a clean one side by side.
"""

import csv
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from edjax.data import molecule_splits
from edjax.data.pdb_ids import pdb_id, read_ids
from edjax.runtime import reading

TRAIN, VALIDATION = 'train', 'validation'
# The time split of EquiBind and DiffDock as DiffDock has it
# (github.com/gcorso/DiffDock, data/splits). The rest of that folder are parts
# of these, and lists for docking that overlap the training set.
DIFFDOCK = {
  TRAIN: 'timesplit_no_lig_overlap_train',
  VALIDATION: 'timesplit_no_lig_overlap_val',
  'timesplit_test': 'timesplit_test',
  'timesplit_test_no_rec_overlap': 'timesplit_test_no_rec_overlap',
}
_PARTS = {
  'train': TRAIN, 'val': VALIDATION, 'valid': VALIDATION,
  'validation': VALIDATION,
}  # fmt: skip


class Lists(NamedTuple):
  """A split as published, before it meets a dataset.

  Attributes:
    parts: 'train', 'validation' (may be missing) and, under any other name,
      test sets -> PDB ids.
    left_out: reason -> PDB ids that the file has in no part.
  """

  parts: dict[str, tuple[str, ...]]
  left_out: dict[str, tuple[str, ...]]


class AffinitySplit(NamedTuple):
  """PDB ids of a dataset by part.

  Attributes:
    train: ids in the dataset, in the order of the split.
    validation: the same.
    tests: name -> the same. Test sets may overlap each other.
    missing: part -> ids asked for that the dataset does not hold; no entry
      where there are none.
    unused: reason -> ids in the dataset that are in no part.
    leaks: name of a test set -> its ids that are in train or validation too;
      empty unless leaks were allowed.
    sha256: over the ids of each part, in order, in hexadecimal.
  """

  train: tuple[str, ...]
  validation: tuple[str, ...]
  tests: dict[str, tuple[str, ...]]
  missing: dict[str, tuple[str, ...]]
  unused: dict[str, tuple[str, ...]]
  leaks: dict[str, tuple[str, ...]]
  sha256: str


def make_split(
  ids: Iterable[str],
  lists: Lists,
  tests: Collection[str] = (),
  clusters: Mapping[str, str] | None = None,
  validation: float = 0.1,
  seed: int = 0,
  allow_leaks: bool = False,
) -> AffinitySplit:
  """What a split is in a dataset.

  Where the split has no validation set, a share of the training set becomes
  one: whole clusters where clusters are known, so that stopping early is not
  rewarded for remembering relatives.

  Args:
    ids: PDB ids of the dataset.
    lists: the split (`refined_core`, `time`, `read`, ...).
    tests: names of the test sets to keep; () for all.
    clusters: PDB id -> cluster, for all of `ids`.
    validation: share of the training set, where the split has no validation.
    seed: of the choice of validation.
    allow_leaks: report ids that a published file has in a test set and in
      train or validation too, in `leaks`, and leave them where they are.

  Returns:
    The split.

  Raises:
    ValueError: a part is empty; an id is in train and validation, or in one of
      them and a test set, or twice in one part; an id of the dataset has no
      cluster; or there is no such test set. The message names it.
  """
  known = _distinct(ids)
  parts = {name: tuple(map(pdb_id, keys)) for name, keys in lists.parts.items()}
  names = [name for name in parts if name not in (TRAIN, VALIDATION)]
  for name in tests:
    if name not in names:
      raise ValueError(f'no test set {name!r} (there are: {", ".join(names)})')
  if not names:
    raise ValueError('the split has no test set')
  names = [name for name in names if not tests or name in tests]
  leaks = _checked(parts, names, allow_leaks)
  found = {
    name: [key for key in parts.get(name, ()) if key in known]
    for name in (TRAIN, VALIDATION, *names)
  }
  missing = {
    name: tuple(key for key in parts[name] if key not in known)
    for name in found
    if name in parts
  }
  if VALIDATION not in parts:
    found[VALIDATION] = _held_out(found[TRAIN], clusters, validation, seed)
    held_out = set(found[VALIDATION])
    found[TRAIN] = [key for key in found[TRAIN] if key not in held_out]
  for name, keys in found.items():
    if not keys:
      raise ValueError(
        f'the split leaves no complex for {name} ({len(known)} in the dataset; '
        f'{len(missing.get(name, ()))} of the split are not in it); tests=... '
        'leaves test sets out'
      )
  frozen = {name: tuple(keys) for name, keys in found.items()}
  used = {key for keys in frozen.values() for key in keys}
  return AffinitySplit(
    train=frozen[TRAIN],
    validation=frozen[VALIDATION],
    tests={name: frozen[name] for name in names},
    missing={name: keys for name, keys in missing.items() if keys},
    unused=_unused(known, used, lists.left_out),
    leaks={
      name: tuple(key for key in leaks[name] if key in known)
      for name in names
      if leaks.get(name)
    },
    sha256=molecule_splits.fingerprint(frozen),
  )


def with_clean_tests(
  split: AffinitySplit, clusters: Mapping[str, str]
) -> AffinitySplit:
  """Beside every test set '<name>_clean': what shares no cluster with train.

  Nor with validation, which chose the model.

  Args:
    split: any split.
    clusters: PDB id -> cluster, for all ids of the split.

  Returns:
    The split with more test sets. A clean set that would be empty is not
    added; one that would be the same as its original is.

  Raises:
    ValueError: an id has no cluster.
  """
  _need_clusters(
    clusters, (split.train, split.validation, *split.tests.values())
  )
  seen = {clusters[key] for key in (*split.train, *split.validation)}
  tests = {}
  for name, keys in split.tests.items():
    tests[name] = keys
    clean = tuple(key for key in keys if clusters[key] not in seen)
    if clean:
      tests[f'{name}_clean'] = clean
  parts = {TRAIN: split.train, VALIDATION: split.validation, **tests}
  return split._replace(tests=tests, sha256=molecule_splits.fingerprint(parts))


def refined_core(
  refined: Iterable[str], core: Iterable[str], test: str = 'core'
) -> Lists:
  """Train on the refined set without the core set, test on the core set.

  Args:
    refined: PDB ids of the refined set.
    core: PDB ids of the core set (CASF).
    test: name of the test set.

  Returns:
    The lists, without validation.
  """
  core = _distinct(core)
  train = [key for key in _distinct(refined) if key not in core]
  return Lists({TRAIN: tuple(train), test: tuple(core)}, {})


def time(
  years: Mapping[str, int], test_from: int, validation_from: int = 0
) -> Lists:
  """Train on what was released before a year, test on the rest.

  Args:
    years: PDB id -> year of release; 0 where unknown, which is left out.
    test_from: first year of the test set.
    validation_from: first year of the validation set, before `test_from`; 0:
      no validation set by year.

  Returns:
    The lists.

  Raises:
    ValueError: validation does not come before test.
  """
  if validation_from >= test_from:
    raise ValueError(
      f'validation_from={validation_from} must be before test_from={test_from}'
    )
  parts = {TRAIN: []}
  if validation_from:
    parts[VALIDATION] = []
  parts['test'] = []
  unknown = []
  for key, year in sorted(years.items()):
    if year == 0:
      unknown.append(key)
    elif year >= test_from:
      parts['test'].append(key)
    elif validation_from and year >= validation_from:
      parts[VALIDATION].append(key)
    else:
      parts[TRAIN].append(key)
  return Lists(
    {name: tuple(keys) for name, keys in parts.items()},
    {'no year': tuple(unknown)} if unknown else {},
  )


def folds(
  clusters: Mapping[str, str], k: int, seed: int = 0
) -> list[list[str]]:
  """Ids in k parts of about the same size that share no cluster.

  Clusters go, the largest first and equal ones in the order of a hash, to the
  part that is the smallest so far.

  Args:
    clusters: PDB id -> cluster.
    k: number of parts.
    seed: of the order of equal clusters.

  Returns:
    Ids of each part, sorted.

  Raises:
    ValueError: k is less than 2 or more than there are clusters.
  """
  members = {}
  for key, name in sorted(clusters.items()):
    members.setdefault(name, []).append(key)
  if not 2 <= k <= len(members):
    raise ValueError(
      f'k={k} must be 2 to {len(members)}, the number of clusters'
    )
  ordered = molecule_splits.hash_order(members, seed)
  parts = [[] for _ in range(k)]
  # sorted() keeps the order of the hash among clusters of one size.
  for name in sorted(ordered, key=lambda name: -len(members[name])):
    min(parts, key=len).extend(members[name])
  return [sorted(part) for part in parts]


def grouped_kfold(
  clusters: Mapping[str, str], k: int, fold: int, seed: int = 0
) -> AffinitySplit:
  """One round of cross-validation over clusters.

  Fold `fold` is for testing, the next one for validation; none shares a
  cluster with another.

  Args:
    clusters: PDB id -> cluster, of the whole dataset.
    k: number of folds, at least 3.
    fold: 0 to k - 1.
    seed: as for `folds`; the same for all rounds.

  Returns:
    The split.

  Raises:
    ValueError: k or fold is out of range.
  """
  if k < 3:
    raise ValueError(f'k={k}: train, validation and test need 3 folds or more')
  if not 0 <= fold < k:
    raise ValueError(f'fold={fold} must be 0 to {k - 1}')
  parts = folds(clusters, k, seed)
  other = (fold + 1) % k
  train = sorted(
    key for i in range(k) if i not in (fold, other) for key in parts[i]
  )
  named = {
    TRAIN: tuple(train),
    VALIDATION: tuple(parts[other]),
    'test': tuple(parts[fold]),
  }
  return make_split(clusters, Lists(named, {}))


def read(path, clean: int = 1, covalent: bool = False) -> Lists:
  """Reads a published split, whichever of these it is.

  - a csv with the column new_split: LP-PDBBind (`read_lp_pdbbind`);
  - a .json file: CleanSplit, or any {part: ids} (`read_json`);
  - a directory with DiffDock's time split, or one list of ids a part:
    train.txt, val.txt (valid, validation), and any other *.txt a test set
    (ATOM3D), or *.csv with the PDB id in the column pdbid (GIGN).

  Args:
    path: of the file or directory.
    clean: for LP-PDBBind.
    covalent: for LP-PDBBind.

  Returns:
    The lists.

  Raises:
    ValueError: none of these, or what is in it cannot be read.
    FileNotFoundError: it is not there.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise FileNotFoundError(f'there is no split {path}')
  if path.is_dir():
    if all((path / name).is_file() for name in DIFFDOCK.values()):
      files = {part: path / name for part, name in DIFFDOCK.items()}
    else:
      files = _named_files(path)
    return read_lists(files)
  if path.suffix.lower() == '.json':
    return read_json(path)
  if path.suffix.lower() == '.csv':
    return read_lp_pdbbind(path, clean, covalent)
  raise ValueError(
    f"{path} is neither LP-PDBBind's csv, nor a .json file, nor a directory "
    'with one list of ids a part'
  )


def read_lists(files: Mapping[str, str | pathlib.Path]) -> Lists:
  """Reads one file of ids a part.

  Args:
    files: 'train', 'validation' (may be missing) and names of test sets ->
      path: a list of ids (ATOM3D, DiffDock: see `read_ids`), or a .csv
      with a column pdbid (GIGN).

  Returns:
    The lists.

  Raises:
    ValueError: no training set, or a file that cannot be read.
    FileNotFoundError: a file is not there.
  """
  if TRAIN not in files:
    raise ValueError(f'no {TRAIN} among {", ".join(files) or "no files"}')
  parts = {}
  for part, path in files.items():
    path = pathlib.Path(path)
    if path.suffix.lower() == '.csv':
      rows = _table(path, ('pdbid',))
      parts[part] = tuple(_id(row['pdbid'], path) for row in rows)
    else:
      parts[part] = read_ids(path)
  return Lists(parts, {})


def read_json(path) -> Lists:
  """Reads {part: [PDB id, ...]}.

  CleanSplit is such a file (`PDBbind_data_split_cleansplit.json` of
  github.com/camlab-ethz/GEMS; Graber et al., Nat. Mach. Intell. 2025): train,
  and the test sets casf2016, casf2013, casf2016_indep and casf2013_indep.

  Args:
    path: of the file.

  Returns:
    The lists.

  Raises:
    ValueError: another format, or no training set.
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
  return Lists(parts, {})


def read_lp_pdbbind(path, clean: int = 1, covalent: bool = False) -> Lists:
  """Reads LP-PDBBind (github.com/THGLab/LP-PDBBind, dataset/LP_PDBBind.csv).

  Li et al., arXiv 2308.09639. The first column has no name and is the PDB id;
  new_split is train, val, test or empty; CL1, CL2 and CL3 (clean levels, each
  within the one before) and covalent are True or False. The authors train on
  CL1 without covalent ligands.

  Args:
    path: of the file.
    clean: level that every complex must have, 1 to 3; 0 for any.
    covalent: keep covalent ligands.

  Returns:
    The lists; rows without a part, below the level or covalent are left out.

  Raises:
    ValueError: a column is missing, or has other values than these.
    FileNotFoundError: there is no such file.
  """
  if clean not in (0, 1, 2, 3):
    raise ValueError(f'clean={clean} must be 0, 1, 2 or 3')
  level = f'CL{clean}'
  needed = ('', 'new_split', 'covalent', *((level,) if clean else ()))
  parts = {TRAIN: [], VALIDATION: [], 'test': []}
  left_out = {}
  for row in _table(path, needed):
    key = _id(row[''], path)
    part = row['new_split'].strip()
    if part not in ('train', 'val', 'test', ''):
      raise ValueError(f'{path}: {key} has new_split {part!r}')
    reason = ''
    if not part:
      reason = 'no part in the file'
    elif clean and not _boolean(row[level], level, key, path):
      reason = f'not {level}'
    elif _boolean(row['covalent'], 'covalent', key, path) and not covalent:
      reason = 'covalent'
    if reason:
      left_out.setdefault(reason, []).append(key)
    else:
      parts[_PARTS.get(part, part)].append(key)
  return Lists(
    {name: tuple(keys) for name, keys in parts.items()},
    {reason: tuple(keys) for reason, keys in left_out.items()},
  )


def _checked(parts: dict, names: Sequence[str], allow_leaks: bool) -> dict:
  """Raises on repeated ids; test set -> ids that leak, where allowed."""
  owner = {}
  for part in (TRAIN, VALIDATION):
    for key in parts.get(part, ()):
      if key in owner:
        raise ValueError(f'{key} is in {owner[key]} and again in {part}')
      owner[key] = part
  leaks = {}
  for name in names:
    if len(set(parts[name])) != len(parts[name]):
      twice = next(k for k in parts[name] if parts[name].count(k) > 1)
      raise ValueError(f'{twice} is in {name} and again in {name}')
    leaks[name] = [key for key in parts[name] if key in owner]
    if leaks[name] and not allow_leaks:
      key = leaks[name][0]
      raise ValueError(
        f'{key} is in {owner[key]} and again in {name}, as are '
        f'{len(leaks[name]) - 1} more; allow_leaks=True reports them instead'
      )
  return leaks


def _unused(known: dict, used: set, left_out: Mapping) -> dict:
  reasons = {}
  for reason, keys in left_out.items():
    for key in keys:
      reasons.setdefault(key, reason)
  result = {}
  for key in known:
    if key not in used:
      reason = reasons.get(key, 'not in the split')
      result.setdefault(reason, []).append(key)
  return {reason: tuple(keys) for reason, keys in result.items()}


def _held_out(train: Sequence[str], clusters, share: float, seed: int) -> list:
  """Part of a training set, whole clusters where these are known."""
  if not 0 < share < 1:
    raise ValueError(f'validation={share} must be a share between 0 and 1')
  wanted = max(1, round(share * len(train)))
  if clusters is None:
    return molecule_splits.hash_order(train, seed)[:wanted]
  _need_clusters(clusters, (train,))
  members = {}
  for key in train:
    members.setdefault(clusters[key], []).append(key)
  ordered = molecule_splits.hash_order(members, seed)
  chosen = []
  for name in ordered:
    if len(chosen) + len(members[name]) <= wanted:
      chosen.extend(members[name])
  # Every cluster is larger than that: the smallest one.
  return chosen or list(
    min((members[name] for name in ordered), key=len, default=())
  )


def _need_clusters(clusters: Mapping, parts: Iterable[Sequence[str]]) -> None:
  for keys in parts:
    for key in keys:
      if key not in clusters:
        raise ValueError(f'{key} has no cluster')


def _distinct(ids: Iterable[str]) -> dict[str, None]:
  """Ids as keys, in their order."""
  result = {}
  for text in ids:
    key = pdb_id(text)
    if key in result:
      raise ValueError(f'{key} is there twice')
    result[key] = None
  return result


def _named_files(path: pathlib.Path) -> dict[str, pathlib.Path]:
  files = {}
  for file in sorted(path.iterdir()):
    if file.suffix.lower() in ('.txt', '.csv'):
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


def _table(path, needed: Sequence[str]) -> list[dict[str, str]]:
  with (
    reading.naming(path),
    open(path, encoding='utf-8-sig', newline='') as file,
  ):
    reader = csv.DictReader(file)
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


def _id(text, path) -> str:
  try:
    return pdb_id(str(text))
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def _boolean(text: str, column: str, key: str, path) -> bool:
  if text not in ('True', 'False'):
    raise ValueError(f'{path}: {key} has {column} {text!r}')
  return text == 'True'
