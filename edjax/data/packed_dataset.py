"""Packs: datasets as memory-mapped arrays, which open at once.

Reading a record costs 0.2 ms. The first load of a dataset therefore writes its
records into flat arrays, ragged ones end to end with their offsets, in a
directory named by `name_of`; later launches map these files.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edjax.datasets import MAP_KINDS
from edjax.molecule import LIGAND, POCKET, frame_origin

# Version of the layout below, to be raised with every change. It is part of a
# pack's name, so that a pack of a new version is written beside the old one.
VERSION = 5
_ARRAYS = (
  'numbers', 'positions', 'b_factors', 'orbitals', 'atom_offsets',
  'ligand_counts', 'orbital_offsets', 'orbital_counts', 'orbital_widths',
  'index', 'maps', 'map_offsets', 'map_shapes', 'map_origins', 'map_steps',
  'frontier', 'frontier_offsets', 'homo_counts', 'lumo_counts',
)  # fmt: skip
# Arrays that are written record by record.
_LARGE = ('orbitals', 'maps', 'frontier')
# Arrays of a row a molecule.
_TYPES = {
  'ligand_counts': np.int32, 'orbital_counts': np.int32,
  'orbital_widths': np.int32, 'index': np.uint32, 'map_shapes': np.int32,
  'map_origins': np.float64, 'map_steps': np.float64, 'homo_counts': np.int32,
  'lumo_counts': np.int32,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Pack:
  """A dataset of N molecules in flat arrays.

  Attributes:
    numbers: [sum A] atomic numbers, int16, molecule after molecule.
    positions: [sum A, 3] Å, float32.
    b_factors: [sum A] Å^2, float32; 0 where the source has none.
    orbitals: [sum O*L*W] float32, see `Molecule.orbitals_OL9`.
    atom_offsets: [N + 1] where each molecule's atoms begin.
    ligand_counts: [N] number of the ligand's atoms, which come first: all atoms
      without a pocket. Orbitals are those of the ligand.
    orbital_offsets: [N + 1] where each molecule's orbitals begin.
    orbital_counts: [N] occupied orbitals O.
    orbital_widths: [N] slots W, 4 or 9.
    index: [N] number of the molecule in its source, uint32.
    maps: [sum X*Y*Z] float32, see `molecule.DensityMap`.
    map_offsets: [N + 1] where each molecule's map begins.
    map_shapes: [N, 3] values along its axes; 0 where there is no map.
    map_origins: [N, 3] Å, place of its first value, in the frame of positions.
    map_steps: [N, 3, 3] Å, rows are the steps along its axes.
    frontier: [sum (H + U)*L*W] float32, see `Molecule.homo_OL9`: first HOMO,
      then LUMO.
    frontier_offsets: [N + 1] where each molecule's frontier orbitals begin.
    homo_counts: [N] number H of orbitals that are the HOMO; 0: not stored.
    lumo_counts: [N] number U of those that are the LUMO.
    columns: name -> [N] float64: targets, GFN2 values and inputs of splits and
      baselines, native units; xtb_levels [N, 12] are the energies of HOMO-5 to
      LUMO+5, eV, NaN where there is no such orbital.
    ids: [N] identifiers.
    fingerprint: of the dataset that the pack was written from.
    uncharacterized: numbers of the molecules that failed the source's
      consistency check, which published splits leave out; None where the source
      has no such list.
    xtb_seconds: seconds of one core for xTB on one molecule, from the report of
      the dataset; None where it has none. Not in the files of the pack.
    unread_densities: number of densities in the user's files that the dataset
      passes by, from the report. Not in the files of the pack.
  """

  numbers: np.ndarray
  positions: np.ndarray
  b_factors: np.ndarray
  orbitals: np.ndarray
  atom_offsets: np.ndarray
  ligand_counts: np.ndarray
  orbital_offsets: np.ndarray
  orbital_counts: np.ndarray
  orbital_widths: np.ndarray
  index: np.ndarray
  maps: np.ndarray
  map_offsets: np.ndarray
  map_shapes: np.ndarray
  map_origins: np.ndarray
  map_steps: np.ndarray
  frontier: np.ndarray
  frontier_offsets: np.ndarray
  homo_counts: np.ndarray
  lumo_counts: np.ndarray
  columns: dict[str, np.ndarray]
  ids: tuple[str, ...]
  fingerprint: str
  uncharacterized: Sequence[int] | None = None
  xtb_seconds: float | None = None
  unread_densities: int = 0

  def __len__(self) -> int:
    return len(self.ids)

  @property
  def atom_counts(self) -> np.ndarray:
    return np.diff(self.atom_offsets)

  @property
  def has_pockets(self) -> bool:
    """Whether any molecule has atoms of a pocket."""
    return bool((self.ligand_counts < self.atom_counts).any())

  def map_kinds(self) -> np.ndarray:
    """Returns what densities of files are, `datasets.MAP_KINDS`, [N].

    It is '' where there are none, or none of the user's molecules.
    """
    if 'map_kind' not in self.columns:
      return np.full(len(self), '')
    return np.array(MAP_KINDS)[self.columns['map_kind'].astype(int)]

  def heavy_atoms(self) -> np.ndarray:
    """Returns the numbers of atoms that are not hydrogen, [N].

    With pockets, of the ligands.
    """
    heavy = np.concatenate([[0], np.cumsum(self.numbers > 1)])
    begin = self.atom_offsets[:-1]
    return heavy[begin + self.ligand_counts] - heavy[begin]


def name_of(dataset: str, fingerprint: str) -> str:
  """Returns the name of a pack's directory: dataset, contents, layout."""
  return f'{dataset}-{fingerprint[:16]}-v{VERSION}'


def remove_partial(directory: str | os.PathLike, dataset: str) -> None:
  """Removes half-written packs that killed processes have left.

  Args:
    directory: of packs; no process may be writing one of this dataset.
    dataset: name of the dataset.
  """
  for path in pathlib.Path(directory).glob(f'{dataset}-*.partial-*'):
    shutil.rmtree(path, ignore_errors=True)


def write(
  directory: str | os.PathLike,
  records: Iterable[Mapping],
  fingerprint: str,
  uncharacterized: Sequence[int] | None = None,
) -> None:
  """Writes a pack; the directory appears only when it is complete.

  Args:
    directory: to be created; it must not exist.
    records: with numbers [A], positions [A, 3], orbitals (flat), n_orbitals,
      orbital_width, index, example_id, float64 scalars; those of molecules
      also frontier (flat), n_homo, n_lumo, xtb_dipole and xtb_levels; with a
      pocket n_ligand and b_factors [A]; and with a map what `_map_of` reads.
      Other fields are ignored.
    fingerprint: of the dataset.
    uncharacterized: see `Pack`.

  Raises:
    ValueError: there is no record, or arrays of one do not fit together.
  """
  directory = pathlib.Path(directory)
  partial = directory.with_name(f'{directory.name}.partial-{os.getpid()}')
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  try:
    _write(partial, records, fingerprint, uncharacterized)
    partial.rename(directory)
  except BaseException:  # a full disk or Ctrl-C, too
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _write(directory, records, fingerprint, uncharacterized) -> None:
  lists: dict[str, list] = {name: [] for name in _ARRAYS}
  columns: dict[str, list] = {}
  ids = []
  with (
    (directory / 'orbitals.bin').open('wb') as orbital_file,
    (directory / 'maps.bin').open('wb') as map_file,
    (directory / 'frontier.bin').open('wb') as frontier_file,
  ):
    for record in records:
      numbers = np.asarray(record['numbers'], np.int16)
      n_ligand = int(record.get('n_ligand', len(numbers)))
      b_factors = record.get('b_factors', np.zeros(len(numbers)))
      orbitals = np.asarray(record['orbitals'], np.float32)
      count, width = int(record['n_orbitals']), int(record['orbital_width'])
      name = _text(record['example_id'])
      if orbitals.size != count * n_ligand * width:
        raise ValueError(f'{name}: orbitals do not fit to its atoms')
      if not 1 <= n_ligand <= len(numbers) or len(b_factors) != len(numbers):
        raise ValueError(f'{name}: ligand or B factors do not fit to its atoms')
      lists['numbers'].append(numbers)
      lists['positions'].append(np.asarray(record['positions'], np.float32))
      lists['b_factors'].append(np.asarray(b_factors, np.float32))
      lists['atom_offsets'].append(len(numbers))
      lists['ligand_counts'].append(n_ligand)
      lists['orbital_offsets'].append(orbitals.size)
      lists['orbital_counts'].append(count)
      lists['orbital_widths'].append(width)
      lists['index'].append(int(record['index']))
      values, shape, origin, steps = _map_of(record, n_ligand)
      if values.size != np.prod(shape):
        raise ValueError(f'{name}: {values.size} values of a map of {shape}')
      lists['map_offsets'].append(values.size)
      lists['map_shapes'].append(shape)
      lists['map_origins'].append(origin)
      lists['map_steps'].append(steps)
      frontier = np.asarray(record.get('frontier', ()), np.float32)
      n_homo, n_lumo = (int(record.get(n, 0)) for n in ('n_homo', 'n_lumo'))
      if frontier.size != (n_homo + n_lumo) * n_ligand * width:
        raise ValueError(f'{name}: frontier orbitals do not fit to its atoms')
      lists['frontier_offsets'].append(frontier.size)
      lists['homo_counts'].append(n_homo)
      lists['lumo_counts'].append(n_lumo)
      frontier_file.write(frontier.tobytes())
      orbital_file.write(orbitals.tobytes())
      map_file.write(values.tobytes())
      ids.append(name)
      for key, value in record.items():
        is_scalar = getattr(value, 'dtype', None) == np.float64
        if is_scalar and np.ndim(value) == 0 and key != 'map_spacing':
          columns.setdefault(key, []).append(float(value))
      if 'xtb_dipole' in record:
        columns.setdefault('xtb_dipole', []).append(
          float(np.linalg.norm(record['xtb_dipole']))
        )
      if 'xtb_levels' in record:
        columns.setdefault('xtb_levels', []).append(record['xtb_levels'])
  if not ids:
    raise ValueError('the dataset holds no record')
  for key, values in columns.items():
    if len(values) != len(ids):
      raise ValueError(f'column {key} is missing in some records')
  arrays = {
    name: np.concatenate(lists[name])
    for name in ('numbers', 'positions', 'b_factors')
  }
  for name in (
    'atom_offsets', 'orbital_offsets', 'map_offsets', 'frontier_offsets',
  ):  # fmt: skip
    arrays[name] = np.cumsum([0, *lists[name]])
  for name, dtype in _TYPES.items():
    arrays[name] = np.array(lists[name], dtype)
  for name, array in arrays.items():
    np.save(directory / f'{name}.npy', array)
  np.savez(directory / 'columns.npz', **columns)
  facts = {
    'version': VERSION,
    'fingerprint': fingerprint,
    'uncharacterized': uncharacterized,
    'ids': ids,
  }
  (directory / 'pack.json').write_text(json.dumps(facts), encoding='utf-8')


def _map_of(record: Mapping, n_ligand: int) -> tuple:
  """Returns values, shape, origin and steps of a record's map.

  Records have map_values (flat), and either map_shape [3], map_origin [3] and
  map_steps [3, 3], or the map_points along an edge and the map_spacing of a
  cube about the centre of mass of the ligand's heavy atoms; or no map.
  """
  values = np.asarray(record.get('map_values', ()), np.float32)
  if 'map_shape' in record:
    shape = np.asarray(record['map_shape'])
    return values, shape, record['map_origin'], record['map_steps']
  points = int(record.get('map_points', 0))
  if not points:
    return values, np.zeros(3, int), np.zeros(3), np.zeros((3, 3))
  spacing = float(record['map_spacing'])
  numbers = np.asarray(record['numbers'])
  groups = np.where(np.arange(len(numbers)) < n_ligand, LIGAND, POCKET)
  # As it is read again: rounded.
  positions = np.asarray(record['positions'], np.float32)
  centre = frame_origin(numbers, positions, groups, 'ligand')
  origin = centre - (points - 1) / 2 * spacing
  return values, np.full(3, points), origin, spacing * np.eye(3)


def open_pack(directory: str | os.PathLike) -> Pack:
  """Maps a pack into memory.

  Raises:
    FileNotFoundError: there is no pack.
    ValueError: the pack is of another version, or damaged.
  """
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise FileNotFoundError(f'no pack at {directory}')
  try:
    return _mapped(directory)
  except (  # from numpy and json, for missing, empty or truncated files
    ValueError,
    KeyError,
    EOFError,
    FileNotFoundError,
    zipfile.BadZipFile,
  ) as error:
    raise ValueError(
      f'{directory} cannot be used ({error}); delete it and it will be written '
      'again'
    ) from error


def _mapped(directory: pathlib.Path) -> Pack:
  facts = json.loads((directory / 'pack.json').read_text(encoding='utf-8'))
  if facts['version'] != VERSION:
    raise ValueError(f'it is of version {facts["version"]}, not {VERSION}')
  arrays = {
    name: np.load(directory / f'{name}.npy', mmap_mode='r')
    for name in _ARRAYS
    if name not in _LARGE
  }
  large = {
    name: _memory_map(
      directory, name, arrays[f'{name.removesuffix("s")}_offsets']
    )
    for name in _LARGE
  }
  path = directory / 'columns.npz'
  # Opened here, since numpy leaves a damaged file open.
  with path.open('rb') as file, np.load(file) as columns:
    return Pack(
      **arrays,
      **large,
      columns=dict(columns),
      ids=tuple(facts['ids']),
      fingerprint=facts['fingerprint'],
      uncharacterized=facts['uncharacterized'],
    )


def _memory_map(directory: pathlib.Path, name: str, offsets) -> np.ndarray:
  size = int(offsets[-1])
  path = directory / f'{name}.bin'
  if path.stat().st_size != 4 * size:
    raise ValueError(f'{path.name} is incomplete')
  return np.memmap(path, np.float32, 'r') if size else np.empty(0, np.float32)


def _text(value) -> str:
  return value.decode() if isinstance(value, bytes) else str(value)
