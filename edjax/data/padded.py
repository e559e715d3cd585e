"""Pads molecules of a pack to arrays of one shape."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from edjax.data import packed_dataset
from edjax.molecule import (
  LIGAND,
  POCKET,
  DensityMap,
  Molecule,
  origin_weights,
)


@dataclasses.dataclass(frozen=True)
class Selection:
  """Selection of the atoms and data of molecules.

  Attributes:
    parts: some of 'ligand' and 'pocket'.
    radius: largest distance of pocket atoms from the frame's origin, Å.
    orbitals: whether the orbitals of the ligand (one of the parts) are used.
    maps: whether density maps are used.
    origin: of the frames, see `molecule.origin_weights`.
    frontier: whether HOMO and LUMO of the ligand are used.
  """

  parts: tuple[str, ...] = ('ligand', 'pocket')
  radius: float = math.inf
  orbitals: bool = False
  maps: bool = False
  origin: str = 'valence'
  frontier: bool = False


@dataclasses.dataclass(frozen=True)
class Padding:
  """Padded lengths of the molecules of a batch.

  Attributes:
    ligand: slots for atoms of the ligand; for all atoms without a pocket.
    pocket: slots for atoms of the pocket, after those of the ligand.
    orbitals: occupied orbitals; 0: none.
    width: slots for the orbitals of an atom.
    map_shape: values along the axes of a map; zeros: none.
    frontier: orbitals that may be the HOMO, and the LUMO; 0: none.
  """

  ligand: int
  pocket: int
  orbitals: int
  width: int
  map_shape: tuple[int, int, int] = (0, 0, 0)
  frontier: int = 0


# Padded lengths are multiples of these, so that molecules of other sizes share
# a compiled program.
_LENGTHS = {'ligand': 8, 'pocket': 64, 'orbitals': 8, 'map_shape': 8}


def roomier(tight: Padding, before: Padding = Padding(0, 0, 0, 4)) -> Padding:
  """Returns a padding that holds both, its lengths rounded up."""
  lengths = {}
  for field in dataclasses.fields(Padding):
    name = field.name
    most = np.maximum(getattr(before, name), getattr(tight, name))
    step = _LENGTHS.get(name, 1)
    length = -(-most // step) * step
    lengths[name] = tuple(length.tolist()) if length.ndim else int(length)
  return Padding(**lengths)


def padding_of(
  source: packed_dataset.Pack,
  rows: np.ndarray,
  selection: Selection = Selection(),
) -> Padding:
  """Returns the tightest padding for some rows of a pack."""
  atoms = _atoms(source, rows, selection)
  ligand, pocket = (
    int(np.bincount(atoms.row[atoms.group == g], minlength=1).max())
    for g in (LIGAND, POCKET)
  )
  orbitals = source.orbital_counts[rows].max() if selection.orbitals else 0
  levels = source.homo_counts[rows], source.lumo_counts[rows]
  return Padding(
    ligand=ligand,
    pocket=pocket,
    orbitals=int(orbitals),
    width=int(source.orbital_widths[rows].max()),
    map_shape=_map_shape(source, rows) if selection.maps else (0, 0, 0),
    frontier=int(np.max(levels)) if selection.frontier else 0,
  )


def make_molecules(
  source: packed_dataset.Pack,
  rows: np.ndarray,
  padding: Padding,
  selection: Selection = Selection(),
) -> Molecule:
  """Pads some molecules of a pack into one batch of host arrays.

  Args:
    source: the pack.
    rows: [B] row numbers.
    padding: at least as large as each molecule.
    selection: of their atoms.

  Returns:
    Molecules with numpy leaves and a leading axis B.
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
  homo, lumo = _frontier(source, rows, padding)
  return Molecule(
    numbers_A=numbers_BA,
    coords_A3=coords_BA3,
    b_factors_A=b_factors_BA,
    groups_A=groups_BA,
    index=np.asarray(source.index[rows]),
    orbitals_OL9=_orbitals(source, rows, padding) if padding.orbitals else None,
    density_map=_maps(source, rows, padding, atoms.centres)
    if any(padding.map_shape)
    else None,
    homo_OL9=homo,
    lumo_OL9=lumo,
  )


def _map_shape(source, rows) -> tuple[int, int, int]:
  return tuple(source.map_shapes[rows].max(0).tolist())


def _maps(source, rows, padding, centre_B3) -> DensityMap:
  """Returns maps about the frames' origins, padded at their ends with zeros."""
  values_BXYZ = np.zeros((len(rows), *padding.map_shape), np.float32)
  for values_XYZ, row in zip(values_BXYZ, rows, strict=True):
    begin, end = source.map_offsets[row : row + 2]
    shape = source.map_shapes[row]
    where = tuple(slice(n) for n in shape)
    values_XYZ[where] = source.maps[begin:end].reshape(shape)
  origin_B3 = source.map_origins[rows] - centre_B3
  return DensityMap(
    values_XYZ=values_BXYZ,
    origin_3=origin_B3.astype(np.float32),
    steps_33=source.map_steps[rows].astype(np.float32),
  )


class _Atoms(NamedTuple):
  """Selected atoms of some rows, end to end.

  Attributes:
    index: [M] position in the pack.
    row: [M] position among the rows.
    group: [M] LIGAND or POCKET.
    rank: [M] number of the atom within its row and group.
    coords: [M, 3] Å, in the frame of their row.
    centres: [B, 3] Å, the origin of each row's frame in that of the pack.
  """

  index: np.ndarray
  row: np.ndarray
  group: np.ndarray
  rank: np.ndarray
  coords: np.ndarray
  centres: np.ndarray


def _atoms(source: packed_dataset.Pack, rows, selection: Selection) -> _Atoms:
  counts = source.atom_counts[rows]
  row = np.repeat(np.arange(len(rows)), counts)
  local = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
  index = np.repeat(source.atom_offsets[rows], counts) + local
  ligand_counts = source.ligand_counts[rows]
  group = np.where(local < ligand_counts[row], LIGAND, POCKET)
  coords = source.positions[index].astype(np.float64)
  numbers = source.numbers[index]
  weight = origin_weights(selection.origin, numbers, group)
  total = np.bincount(row, weight, minlength=len(rows))
  centre = np.column_stack(
    [np.bincount(row, weight * x, minlength=len(rows)) for x in coords.T]
  )
  centre /= total[:, None]
  coords -= centre[row]
  wanted = [{'ligand': LIGAND, 'pocket': POCKET}[p] for p in selection.parts]
  near = np.square(coords).sum(1) <= selection.radius**2
  keep = np.isin(group, wanted) & ((group == LIGAND) | near)
  index, row, group = index[keep], row[keep], group[keep]
  # Atoms of a row and group follow each other.
  first = np.flatnonzero(np.diff(2 * row + group, prepend=-1))
  lengths = np.diff(np.append(first, len(row)))
  rank = np.arange(len(row)) - np.repeat(first, lengths)
  return _Atoms(index, row, group, rank, coords[keep], centre)


def _orbitals(source, rows, padding) -> np.ndarray:
  counts, widths = source.orbital_counts[rows], source.orbital_widths[rows]
  shapes = zip(counts, source.ligand_counts[rows], widths, strict=True)
  each = (
    _of_row(source.orbitals, source.orbital_offsets, row).reshape(shape)
    for row, shape in zip(rows, shapes, strict=True)
  )
  return _padded(each, len(rows), padding.orbitals, padding)


def _frontier(source, rows, padding) -> tuple:
  """Returns HOMO and LUMO; (None, None) where there is no room for them."""
  if not padding.frontier:
    return None, None
  widths, n_homo = source.orbital_widths[rows], source.homo_counts[rows]
  counts = n_homo + source.lumo_counts[rows]
  shapes = zip(counts, source.ligand_counts[rows], widths, strict=True)
  both = [
    _of_row(source.frontier, source.frontier_offsets, row).reshape(shape)
    for row, shape in zip(rows, shapes, strict=True)
  ]
  levels = (
    (each[:n] for each, n in zip(both, n_homo, strict=True)),
    (each[n:] for each, n in zip(both, n_homo, strict=True)),
  )
  return tuple(
    _padded(each, len(rows), padding.frontier, padding) for each in levels
  )


def _of_row(values, offsets, row) -> np.ndarray:
  return values[offsets[row] : offsets[row + 1]]


def _padded(each, n_rows: int, n_orbitals: int, padding) -> np.ndarray:
  """Pads orbitals of molecules with zeros, [B, O, L, W]."""
  padded = np.zeros(
    (n_rows, n_orbitals, padding.ligand, padding.width), np.float32
  )
  for i, orbitals in enumerate(each):
    where = tuple(slice(n) for n in orbitals.shape)
    padded[i][where] = orbitals
  return padded
