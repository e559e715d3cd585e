"""From a dataset to padded molecules and labels, and batches by index."""

import dataclasses
import fractions
import functools
import hashlib
import json
import math
import pathlib
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from edjax import pack, stored_data
from edjax.chem import elements
from edjax.config import ConfigError, schema
from edjax.molecule import LIGAND, POCKET, DensityMap, Molecule
from edjax.runtime import paths

# Molecules of a stream that are looked at at once.
_BLOCK = 4096


def load_pack(data, variant: str = '', beam: str = '') -> pack.Pack:
  """Opens the pack of a dataset; builds dataset and pack where missing.

  Of several processes one builds and packs, and the others wait for it.

  Args:
    data: `config.data`: name, data_dir, manual_dir, workers, download.
    variant: of the dataset, where it has several.
    beam: flags of Apache Beam, which then builds what is missing; ''
      processes of this machine.

  Returns:
    The pack.

  Raises:
    ConfigError: the dataset cannot be built or opened: its source is damaged
      or has changed, xTB failed for every molecule, or a pack is damaged.
    FileNotFoundError: source files are missing.
  """
  from data_builders import xtb  # builders only where they are needed

  try:
    return _load_pack(data, variant, beam)
  except (ValueError, xtb.XtbError) as error:
    raise ConfigError(f'dataset {data.name}: {error}') from error


def _load_pack(data, variant: str, beam: str) -> pack.Pack:
  import data_builders
  from data_builders import locks

  data_dir, builder = _build(data, variant, beam)
  fingerprint = data_builders.fingerprint(builder)
  report = data_builders.report(builder)
  packs = data_dir / 'packs'
  packs.mkdir(exist_ok=True)
  directory = packs / pack.name_of(data.name, fingerprint)
  lock = packs / f'.{data.name}.lock'
  with locks.locked(lock, f'the pack of {data.name}') as held:
    if held:
      pack.remove_partial(packs, data.name)
    if not directory.is_dir():
      from tqdm import tqdm

      source = builder.as_data_source(split='all')
      records = tqdm(source, desc=f'packing {data.name}', unit=' molecules')
      dropped = report.get('uncharacterized')
      pack.write(directory, records, fingerprint, dropped)
  return dataclasses.replace(
    pack.open_pack(directory),
    xtb_seconds=report.get('xtb_seconds_per_molecule'),
  )


def _build(data, variant: str, beam: str):
  """Where datasets are on this machine, and the builder of this one.

  Of an object store the dataset is copied here, after it was made here and
  copied there, or made there by Apache Beam.
  """
  import data_builders
  from data_builders import records

  def build(data_dir, **options):
    if data.download:
      options['download'] = True
    return data_builders.build(
      data.name,
      data_dir,
      workers=data.workers or None,
      variant=variant,
      **options,
    )

  place = data_builders.place(data.name, variant)
  if not paths.is_remote(data.data_dir):
    local = pathlib.Path(data.data_dir).expanduser()
    manual_dir = _manual_dir(data, (local / place).exists())
    return local, build(local, manual_dir=manual_dir, beam=beam)
  local = stored_data.copy_of(data.data_dir)
  there = paths.join(data.data_dir, place)
  if stored_data.is_complete(there):
    stored_data.fetch(there, local / place)
    report = json.loads(stored_data.read(there, records.REPORT))
  else:
    if beam and not (local / place).exists():
      stored_data.check_empty(there)
      build(data.data_dir, manual_dir=_manual_dir(data), beam=beam)
      stored_data.seal(there)
      return _build(data, variant, '')
    if not (local / place).exists():
      build(local, manual_dir=_manual_dir(data))
    stored_data.send(local / place, there)
    report = None
  builder = build(local)
  if report and report['sha256'] != data_builders.report(builder)['sha256']:
    raise ValueError(
      f'{there} holds another dataset than its copy in {local / place}; delete '
      'the one that is out of date'
    )
  return local, builder


def _manual_dir(data, built: bool = False) -> str | pathlib.Path:
  """On this machine; copied from a store where a dataset is to be built."""
  address = data.manual_dir or paths.join(data.data_dir, 'manual')
  if not paths.is_remote(address):
    return pathlib.Path(address).expanduser()
  return '' if built else stored_data.source_files(address)


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


def make_split(source: pack.Pack, data) -> Rows:
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
  from data_builders import splits

  row_of = {source.ids[row]: row for row in rows}
  ordered = splits.hash_order(row_of, seed)[:count]
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


def _split(source: pack.Pack, data) -> _Split:
  if data.split in schema.PDBBIND_SPLITS:
    return _affinity_split(source, data)
  from data_builders import splits

  split = splits.make_split(
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


def _affinity_split(source: pack.Pack, data) -> _Split:
  from data_builders.pdbbind import affinity_splits

  columns = source.columns
  cluster_of = dict(zip(source.ids, columns['cluster'].tolist(), strict=True))
  if data.split == 'clusters':
    split = affinity_splits.grouped_kfold(
      cluster_of, data.folds, data.fold, data.seed
    )
  else:
    if data.split == 'time':
      years = dict(zip(source.ids, columns['year'].astype(int), strict=True))
      lists = affinity_splits.time(years, data.split_year)
    elif data.split == 'refined_core':
      refined, core = (
        [source.ids[row] for row in np.flatnonzero(columns[name])]
        for name in ('refined', 'core')
      )
      lists = affinity_splits.refined_core(refined, core)
    else:
      lists = affinity_splits.read(pathlib.Path(data.split_file).expanduser())
    split = affinity_splits.make_split(
      source.ids,
      lists,
      clusters=cluster_of,
      validation=data.validation_fraction,
      seed=data.seed,
      allow_leaks=True,
    )
    split = affinity_splits.with_clean_tests(split, cluster_of)
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


def shuffled(columns_NT: np.ndarray, rows: Rows, seed: int) -> np.ndarray:
  """Labels of training and validation examples exchanged among themselves.

  A control: what is still learned from these is a property of the labels, not
  of the input. Test labels stay.

  Args:
    columns_NT: targets.
    rows: the split.
    seed: of the exchange.

  Returns:
    A copy, [N, T].
  """
  columns_NT = columns_NT.copy()
  order = np.random.Generator(np.random.Philox(key=[seed, 1]))
  for part in (rows.train, rows.validation):
    columns_NT[part] = columns_NT[order.permutation(part)]
  return columns_NT


@dataclasses.dataclass(frozen=True)
class Selection:
  """Which atoms of complexes are of use.

  Attributes:
    parts: some of 'ligand' and 'pocket'.
    radius: Å; pocket atoms farther than this from the frame's origin are left
      out (inf: none).
    orbitals: whether the orbitals of the ligand (one of the parts) come along.
    maps: whether density maps do.
  """

  parts: tuple[str, ...] = ('ligand', 'pocket')
  radius: float = math.inf
  orbitals: bool = False
  maps: bool = False


@dataclasses.dataclass(frozen=True)
class Padding:
  """Lengths that molecules of one batch share.

  Attributes:
    ligand: slots for atoms of the ligand (of a molecule without a pocket, for
      all atoms).
    pocket: slots for atoms of the pocket, after those.
    orbitals: occupied orbitals; 0: none.
    width: slots of an atom's orbitals.
    map_points: values along the edge of a map; 0: none.
  """

  ligand: int
  pocket: int
  orbitals: int
  width: int
  map_points: int


def padding_of(
  source: pack.Pack, rows: np.ndarray, selection: Selection = Selection()
) -> Padding:
  """The tightest padding for some rows of a pack."""
  atoms = _atoms(source, rows, selection)
  ligand, pocket = (
    int(np.bincount(atoms.row[atoms.group == g], minlength=1).max())
    for g in (LIGAND, POCKET)
  )
  orbitals = source.orbital_counts[rows].max() if selection.orbitals else 0
  return Padding(
    ligand=ligand,
    pocket=pocket,
    orbitals=int(orbitals),
    width=int(source.orbital_widths[rows].max()),
    map_points=int(source.map_points[rows].max()) if selection.maps else 0,
  )


def make_molecules(
  source: pack.Pack,
  rows: np.ndarray,
  padding: Padding,
  selection: Selection = Selection(),
) -> Molecule:
  """Pads some molecules of a pack into one batch of host arrays.

  Args:
    source: the pack.
    rows: [B] row numbers.
    padding: at least as large as each of them.
    selection: which of their atoms.

  Returns:
    Molecules with numpy leaves and a leading axis B, each in the frame of its
    centre of mass; where the pack has pockets, of the ligand's heavy atoms.
  """
  rows = np.asarray(rows)
  atoms = _atoms(source, rows, selection)
  size = padding.ligand + padding.pocket
  numbers_BA = np.zeros((len(rows), size), np.int32)
  coords_BA3 = np.zeros((len(rows), size, 3), np.float32)
  b_factors_BA = np.zeros((len(rows), size), np.float32)
  groups_BA = np.zeros((len(rows), size), np.int32)
  groups_BA[:, padding.ligand :] = POCKET
  begin = np.where(atoms.group == POCKET, padding.ligand, 0)
  where = atoms.row, begin + atoms.rank
  numbers_BA[where] = source.numbers[atoms.index]
  coords_BA3[where] = atoms.coords
  b_factors_BA[where] = source.b_factors[atoms.index]
  return Molecule(
    numbers_A=numbers_BA,
    coords_A3=coords_BA3,
    b_factors_A=b_factors_BA,
    groups_A=groups_BA,
    example_id=np.asarray(source.index[rows]),
    orbitals_OL9=_orbitals(source, rows, padding) if padding.orbitals else None,
    density_map=_maps(source, rows, padding) if padding.map_points else None,
  )


class Stream:
  """Padded molecules of some rows, made when they are asked for.

  For parts that do not fit into memory: the pack is memory-mapped, and what is
  read of it is what a batch has.

  Args:
    source, rows, padding, selection: see `make_molecules`.
  """

  def __init__(self, source, rows, padding, selection):
    self._source, self._rows = source, np.asarray(rows)
    self._padding, self._selection = padding, selection

  def __len__(self) -> int:
    return len(self._rows)

  def take(self, indices) -> Molecule:
    """See `take`."""
    indices = np.asarray(indices)
    made = make_molecules(
      self._source, self._rows[indices.ravel()], self._padding, self._selection
    )
    return jax.tree.map(lambda x: x.reshape(*indices.shape, *x.shape[1:]), made)


def molecules_of(source, rows, padding, selection, memory: float):
  """Padded molecules in memory, or a `Stream` where these take too much.

  Args:
    source, rows, padding, selection: see `make_molecules`.
    memory: bytes that they may take.
  """
  one = make_molecules(source, rows[:1], padding, selection)
  if len(rows) * sum(x.nbytes for x in jax.tree.leaves(one)) > memory:
    return Stream(source, rows, padding, selection)
  return make_molecules(source, rows, padding, selection)


def take(molecules: Molecule | Stream, indices) -> Molecule:
  """Some of the molecules of a part, as host arrays.

  Args:
    molecules: from `molecules_of`.
    indices: [...] positions in the part.

  Returns:
    Molecules with the leading axes of the indices.
  """
  if isinstance(molecules, Stream):
    return molecules.take(indices)
  return jax.tree.map(lambda x: x[indices], molecules)


def blocks(molecules: Molecule | Stream) -> Iterator[Molecule]:
  """All molecules of a part in order, some thousands at a time."""
  if not isinstance(molecules, Stream):
    yield molecules
    return
  for begin in range(0, len(molecules), _BLOCK):
    end = min(begin + _BLOCK, len(molecules))
    yield molecules.take(np.arange(begin, end))


class Ahead:
  """Batches of a stream, made in threads while steps are computed.

  Args:
    make: step -> batch.
    steps: in all.
    per_call: steps of a batch.
  """

  def __init__(self, make, steps: int, per_call: int):
    self._make, self._steps, self._per_call = make, steps, per_call
    self._next, self._batches = None, None

  def __call__(self, step: int):
    if step != self._next:
      import grain

      calls = grain.MapDataset.range(step, self._steps, self._per_call)
      options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
      self._batches = iter(calls.map(self._make).to_iter_dataset(options))
    self._next = step + self._per_call
    return next(self._batches)


def _maps(source, rows, padding) -> DensityMap:
  """Cubes about the origin; shorter ones end in zeros, as it is outside."""
  size = padding.map_points
  values_BXYZ = np.zeros((len(rows), size, size, size), np.float32)
  points_B, spacing_B = source.map_points[rows], source.map_spacings[rows]
  for i, row in enumerate(rows):
    begin, end = source.map_offsets[row : row + 2]
    n = points_B[i]
    values_BXYZ[i, :n, :n, :n] = source.maps[begin:end].reshape(n, n, n)
  origin_B = -(points_B - 1) / 2 * spacing_B
  return DensityMap(
    values_XYZ=values_BXYZ,
    origin_3=np.repeat(origin_B[:, None], 3, axis=1).astype(np.float32),
    steps_33=(spacing_B[:, None, None] * np.eye(3)).astype(np.float32),
  )


class _Atoms(NamedTuple):
  """Chosen atoms of some rows, end to end.

  Attributes:
    index: [M] in the pack.
    row: [M] which of the rows.
    group: [M] LIGAND or POCKET.
    rank: [M] number among the atoms of that row and group.
    coords: [M, 3] Å, in the frame of their row.
  """

  index: np.ndarray
  row: np.ndarray
  group: np.ndarray
  rank: np.ndarray
  coords: np.ndarray


def _atoms(source: pack.Pack, rows, selection: Selection) -> _Atoms:
  counts = source.atom_counts[rows]
  row = np.repeat(np.arange(len(rows)), counts)
  local = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
  index = np.repeat(source.atom_offsets[rows], counts) + local
  ligand_counts = source.ligand_counts[rows]
  group = np.where(local < ligand_counts[row], LIGAND, POCKET)
  coords = source.positions[index].astype(np.float64)
  weight = elements.MASSES[source.numbers[index]]
  if source.has_pockets:
    weight = np.where(
      (group == LIGAND) & (source.numbers[index] > 1), weight, 0
    )
  total = np.bincount(row, weight, minlength=len(rows))
  centre = np.column_stack(
    [np.bincount(row, weight * x, minlength=len(rows)) for x in coords.T]
  )
  coords -= (centre / total[:, None])[row]
  wanted = [{'ligand': LIGAND, 'pocket': POCKET}[p] for p in selection.parts]
  near = np.square(coords).sum(1) <= selection.radius**2
  keep = np.isin(group, wanted) & ((group == LIGAND) | near)
  index, row, group = index[keep], row[keep], group[keep]
  # Atoms of a row and group follow each other.
  first = np.flatnonzero(np.diff(2 * row + group, prepend=-1))
  lengths = np.diff(np.append(first, len(row)))
  rank = np.arange(len(row)) - np.repeat(first, lengths)
  return _Atoms(index, row, group, rank, coords[keep])


def _orbitals(source, rows, padding) -> np.ndarray:
  counts, widths = source.orbital_counts[rows], source.orbital_widths[rows]
  padded = np.zeros(
    (len(rows), padding.orbitals, padding.ligand, padding.width), np.float32
  )
  carriers = source.ligand_counts[rows]
  for i, row in enumerate(rows):
    begin, end = source.orbital_offsets[row : row + 2]
    shape = counts[i], carriers[i], widths[i]
    orbitals = source.orbitals[begin:end].reshape(shape)
    padded[i, : shape[0], : shape[1], : shape[2]] = orbitals
  return padded


@dataclasses.dataclass(frozen=True)
class Labels:
  """Standardised labels of all molecules of a pack, and the way back.

  Attributes:
    values_NT: (column - offset_NT - mean_T) / scale_T, float32.
    offset_NT: what is added back, native units: zeros, or the linear fit of
      delta learning.
    mean_T: of the training molecules.
    scale_T: standard deviation of the training molecules.
    columns_NT: the targets, native units, float64.
  """

  values_NT: np.ndarray
  offset_NT: np.ndarray
  mean_T: np.ndarray
  scale_T: np.ndarray
  columns_NT: np.ndarray

  def to_native(self, values_BT: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Network outputs of some rows, [..., B, T], in native units."""
    return (
      np.asarray(values_BT, np.float64) * self.scale_T
      + self.mean_T
      + self.offset_NT[rows]
    )


def make_labels(
  columns_NT: np.ndarray,
  train_rows: np.ndarray,
  names: Sequence[str],
  offset_NT=None,
) -> Labels:
  """Standardises targets on the training molecules, in float64.

  Args:
    columns_NT: targets, native units.
    train_rows: [n] training rows.
    names: [T] of the targets, for the error.
    offset_NT: subtracted first (default 0).

  Raises:
    ConfigError: a training target is constant or not finite; it is named.
  """
  offset_NT = np.zeros_like(columns_NT) if offset_NT is None else offset_NT
  remainder_NT = columns_NT - offset_NT
  mean_T = remainder_NT[train_rows].mean(0)
  scale_T = remainder_NT[train_rows].std(0)
  # Of equal values the deviation may be a rounding error, and not 0.
  spread_T = np.ptp(remainder_NT[train_rows], axis=0)
  usable_T = np.isfinite(scale_T) & (spread_T > 0)
  bad = [name for name, ok in zip(names, usable_T, strict=True) if not ok]
  if bad:
    raise ConfigError(
      f'config.data.targets: cannot standardise {", ".join(bad)}: constant or '
      f'not finite over the {len(train_rows)} training molecules'
    )
  return Labels(
    values_NT=((remainder_NT - mean_T) / scale_T).astype(np.float32),
    offset_NT=offset_NT,
    mean_T=mean_T,
    scale_T=scale_T,
    columns_NT=columns_NT,
  )


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
  # Philox is counter-based: an epoch's order needs no state of the last one.
  bits = np.random.Philox(key=[seed, epoch])
  return np.random.Generator(bits).permutation(n)


def batch_indices(seed: int, step: int, n: int, batch: int) -> np.ndarray:
  """Which examples make up the batch of a step.

  The examples run through one permutation after another; a batch may end one
  and begin the next, so that every example is used equally often.

  Args:
    seed: of the order.
    step: number of the batch, from 0.
    n: examples.
    batch: batch size.

  Returns:
    [batch] int32 indices, a pure function of the arguments.

  Raises:
    ValueError: n or batch is below 1, or step is negative.
  """
  if n < 1 or batch < 1 or step < 0:
    raise ValueError(f'no batch {step} of {batch} from {n} examples')
  first = step * batch
  parts = []
  while len(parts) == 0 or sum(map(len, parts)) < batch:
    epoch, offset = divmod(first + sum(map(len, parts)), n)
    left = batch - sum(map(len, parts))
    parts.append(_permutation(seed, epoch, n)[offset : offset + left])
  return np.concatenate(parts).astype(np.int32)
