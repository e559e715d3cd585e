"""Compares the density of a cube file with the file's own atoms.

A sum of values alone proves little: of a file that has all lengths in Å and
densities in e/Å^3 it is right, and so it is of one with its axes in another
order. Here bonds are compared with covalent radii, and the values with a
promolecule, a sum of spherical free atoms.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import scipy.spatial

from edjax import fields
from edjax.chem import elements
from edjax.chem.gfn2_occupations import valence_electrons
from edjax.molecule import DensityMap, Molecule

AS_FIELD = 'cube_files.read_field reads fields of any kind'
# Largest share of electrons that lie elsewhere than in the promolecule. Of 24
# small molecules and ions (6-31G, ECPs for heavy atoms; LiF, NaCl, MgO, SF6,
# PbI2, H3O+ among them) it is 0.03 to 0.14, of LiH and H- 0.26 and 0.20; with
# atoms half an Å away it is 0.28 to 0.83.
MAX_MISMATCH = 0.3
# More at a single atom: there it is up to 0.2 in these molecules, and 0.37 at
# the aluminium of AlF3.
_AT_ONE_ATOM = 0.2
# Electrons over those of the promolecule, which is neutral: 0.58 (Na+) to 2.1
# (H-). A wrong unit makes it 6.7 times too large or too small.
_SCALE = 0.4, 2.5
# Another order of axes, or a cell, is the right reading with less than this
# share of the mismatch, where that is not small.
_BETTER, _DOUBTFUL = 0.7, 0.1
# Electrons beyond _FAR_A from all atoms: of diffuse anions some tenths.
_FAR_ELECTRONS = 0.5
_FAR_A = 3.0
# A density may fall below 0 by rounding or fitting, by this share of its
# largest value; orbitals and differences fall as far below 0 as they rise above
# it.
_NEGATIVE = 1e-3
# Electrons on the grid over all of the nuclei, and over the valence electrons
# of GFN2-xTB. The grid may hold too many where points are far apart: a point at
# a cusp counts for its whole cell. It may hold few where the box cuts.
_MOST, _FEWEST = 2.0, 0.1
# Bonds in sums of covalent radii: of Cr2, the shortest for its atoms, 0.6; of
# those of H, C, N and O read in the wrong unit 0.41 to 0.56. H2 has 0.74 Å, and
# 0.39 Å in the wrong unit.
_SHORTEST, _SHORTEST_A = 0.57, 0.5
# Of the grid's points, compared with the promolecule; fewer than the second
# number say nothing.
_POINTS, _FEWEST_POINTS = 20_000, 20
# About an atom, of file and promolecule together.
_FEWEST_ELECTRONS = 0.5
# Distance from nuclei within which core electrons, which files may lack, and
# the grid's cusps count, Å.
_CORE_A, _CORE_H_A = 0.5, 0.25
# Å that free atoms reach; B factor of the blur of form factors, Å^2.
_REACH_A, _BLUR_B = 5.0, 1.0
# Lone s electrons, which ions lack: groups 1 and 2.
_GIVING = (3, 4, 11, 12, 19, 20, 37, 38, 55, 56, 87, 88)


def check_bonds(numbers_A, coords_A3, length_unit: str) -> None:
  """Raises ValueError where atoms are closer than any bond is long.

  Args:
    numbers_A: atomic numbers.
    coords_A3: Å.
    length_unit: 'bohr' or 'angstrom', in which the file was read.
  """
  tree = scipy.spatial.KDTree(coords_A3.reshape(-1, 3))
  pairs_P2 = tree.query_pairs(_REACH_A, output_type='ndarray')
  if not len(pairs_P2):
    return
  i, j = pairs_P2.T
  radius_A = _covalent_radii()[numbers_A]
  distance_P = np.linalg.norm(coords_A3[i] - coords_A3[j], axis=1)
  ratio_P = distance_P / (radius_A[i] + radius_A[j])
  short_P = (ratio_P < _SHORTEST) | (distance_P < _SHORTEST_A)
  if not short_P.any():
    return
  worst = np.flatnonzero(short_P)[ratio_P[short_P].argmin()]
  names = [
    f'{k + 1} ({elements.SYMBOLS[numbers_A[k]]})' for k in (i[worst], j[worst])
  ]
  hint = "; are its lengths (length_unit='angstrom') or its atoms alone in Å?"
  raise ValueError(
    f'atoms {" and ".join(names)} are {distance_P[worst]:.2f} Å apart, closer '
    f'than any bond{hint if length_unit == "bohr" else ""}'
  )


@functools.cache
def _covalent_radii() -> np.ndarray:
  """Returns Cordero's covalent radii (2008) by atomic number, Å."""
  import gemmi

  return np.array(
    [gemmi.Element(z).covalent_r for z in range(elements.MAX_NUMBER + 1)]
  )


def check_density(
  numbers_A,
  coords_A3,
  density_map: DensityMap,
  periodic: bool = False,
  max_mismatch: float = MAX_MISMATCH,
) -> float:
  """Checks that a density is one, and that of its atoms.

  Args:
    numbers_A: atomic numbers, one or more.
    coords_A3: Å.
    density_map: e/Å^3.
    periodic: whether atoms and density are those of a cell that is repeated.
    max_mismatch: share of the electrons, near enough to atoms and not in their
      cores, that may lie elsewhere than in a promolecule: half of the integral
      of the absolute difference, both scaled to one integral. Atoms of groups 1
      and 2, which ions lack the electrons of, are passed over.

  Returns:
    The number of electrons on the grid.

  Raises:
    ValueError: it is no density of these atoms; the message says why.
  """
  values_XYZ = density_map.values_XYZ
  lowest, highest = values_XYZ.min(), values_XYZ.max()
  if lowest < -_NEGATIVE * highest:
    raise ValueError(
      f'values from {lowest:.3g} to {highest:.3g} e/Å^3 are no density: an '
      f'orbital, a difference, or another function? {AS_FIELD}'
    )
  volume = abs(np.linalg.det(density_map.steps_33))
  electrons = float(values_XYZ.sum(dtype=np.float64) * volume)
  _check_electrons(numbers_A, coords_A3, density_map, electrons, volume)
  if max_mismatch >= 1:
    return electrons
  atoms = _Atoms(numbers_A, coords_A3, np.arange(len(numbers_A)))
  if periodic:
    atoms = _with_images(numbers_A, coords_A3, density_map)
  _check_places(atoms, density_map, max_mismatch, periodic)
  return electrons


def _check_electrons(numbers_A, coords_A3, density_map, electrons, volume):
  total = int(numbers_A.sum())
  values_XYZ = density_map.values_XYZ
  text = (
    f'its values sum up to {electrons:.3g} electrons, where the nuclei have '
    f'{total}'
  )
  at_nuclei, point, atom = _at_nuclei(coords_A3, density_map)
  if electrons > _MOST * total and at_nuclei * volume > electrons / 2:
    alone = values_XYZ[point] * volume
    raise ValueError(
      f'{text}: {at_nuclei * volume:.3g} are those of the points nearest to '
      f'nuclei, {alone:.3g} of point {point} at atom {atom + 1} '
      f'({elements.SYMBOLS[numbers_A[atom]]}). A point at a nucleus stands for '
      'its whole cell: write the file with smaller steps or a shifted origin'
    )
  fewest = _FEWEST * (
    valence_electrons(numbers_A).sum() if numbers_A.max() <= 86 else total
  )
  if not fewest <= electrons <= _MOST * total:
    raise ValueError(
      f'{text}: is it a density in e/bohr^3, with lengths in bohr? Arguments '
      'length_unit and density_unit name others'
    )


def _at_nuclei(coords_A3, density_map):
  """Returns the sum of the points nearest to nuclei, the largest, its atom."""
  values_XYZ = density_map.values_XYZ
  offset_A3 = coords_A3 - density_map.origin_3
  index_A3 = np.rint(offset_A3 @ np.linalg.inv(density_map.steps_33))
  inside_A = ((index_A3 >= 0) & (index_A3 < values_XYZ.shape)).all(1)
  if not inside_A.any():
    return 0.0, (0, 0, 0), 0
  points_A3 = np.where(inside_A[:, None], index_A3, 0).astype(int)
  values_A = np.where(inside_A, values_XYZ[*points_A3.T], 0)
  points_P3 = np.unique(points_A3[inside_A], axis=0)
  atom = int(values_A.argmax())
  total = float(values_XYZ[*points_P3.T].sum(dtype=np.float64))
  return total, tuple(points_A3[atom].tolist()), atom


class _Atoms(NamedTuple):
  """Atoms of the file or their images; rows [A] are those of the file."""

  numbers: np.ndarray
  coords: np.ndarray
  rows: np.ndarray


def _with_images(numbers_A, coords_A3, density_map) -> _Atoms:
  """Adds the atoms of neighbouring cells that reach into the cell."""
  points_3 = np.array(density_map.values_XYZ.shape)
  cell_33 = density_map.steps_33 * points_3[:, None]
  inverse_33 = np.linalg.inv(cell_33)
  margin_3 = _REACH_A * np.linalg.norm(inverse_33, axis=0)
  counts = [range(-n, n + 1) for n in np.ceil(margin_3 + 1).astype(int)]
  shifts_S3 = np.array(list(itertools.product(*counts))) @ cell_33
  images_N3 = (coords_A3[None] + shifts_S3[:, None]).reshape(-1, 3)
  fraction_N3 = (images_N3 - density_map.origin_3) @ inverse_33
  near_N = ((fraction_N3 > -margin_3) & (fraction_N3 < 1 + margin_3)).all(1)
  rows_N = np.tile(np.arange(len(numbers_A)), len(shifts_S3))[near_N]
  return _Atoms(numbers_A[rows_N], images_N3[near_N], rows_N)


class _Sample(NamedTuple):
  """Points of a file [G]: indices, places, values, and the nearest atoms."""

  index: np.ndarray
  points: np.ndarray
  own: np.ndarray
  atom: np.ndarray


def _check_places(atoms, density_map, most, periodic) -> None:
  """Compares values at some points with a promolecule of all atoms."""
  repeated = '' if periodic else ', or is the box a cell (periodic=True)'
  hint = (
    'are atoms and density in one unit (length_unit, density_unit) and one '
    f'frame{repeated}?'
  )
  values_XYZ = np.maximum(density_map.values_XYZ, 0)
  index_3G = _some_points(values_XYZ.shape)
  points_G3 = density_map.origin_3 + index_3G.T @ density_map.steps_33
  distance_G, atom_G = scipy.spatial.KDTree(atoms.coords).query(points_G3)
  volume = abs(np.linalg.det(density_map.steps_33))
  volume *= values_XYZ.size / index_3G.shape[1]
  own_G = values_XYZ[*index_3G]
  far = own_G[distance_G > _FAR_A].sum() * volume
  if far > _FAR_ELECTRONS:
    raise ValueError(
      f'{far:.2g} electrons are more than {_FAR_A:g} Å from every atom: {hint}'
    )
  number_G = atoms.numbers[atom_G]
  core_G = distance_G < np.where(number_G > 2, _CORE_A, _CORE_H_A)
  near_G = (distance_G < _FAR_A) & ~core_G & ~np.isin(number_G, _GIVING)
  if near_G.sum() < _FEWEST_POINTS:
    return
  near = _Sample(
    index_3G[:, near_G], points_G3[near_G], own_G[near_G], atom_G[near_G]
  )
  if not near.own.any():
    raise ValueError(f'it has no density near its atoms: {hint}')
  free_G = _promolecule(atoms, near)
  scale = near.own.sum() / free_G.sum()
  if not _SCALE[0] <= scale <= _SCALE[1]:
    raise ValueError(
      f'its density is {scale:.2g} times that of its free atoms: {hint}'
    )
  mismatch = _mismatch(near.own, free_G)
  if mismatch > _DOUBTFUL:
    cell = None if periodic else _with_images(*atoms[:2], density_map)
    _check_readings(values_XYZ, near, free_G, mismatch, cell)
  place, limit = 'in the box', most
  worst, at_worst = _worst_atom(near, scale * free_G, volume)
  if at_worst > most + _AT_ONE_ATOM:
    name = f'{atoms.rows[worst] + 1} ({elements.SYMBOLS[atoms.numbers[worst]]})'
    place, mismatch = f'about atom {name}', at_worst
    limit += _AT_ONE_ATOM
  if mismatch > limit:
    raise ValueError(
      f'{mismatch:.0%} of the density {place} are not where free atoms have it '
      f'(max_mismatch allows {limit:.0%} there): {hint}'
    )


def _check_readings(values_XYZ, near, free_G, mismatch, cell) -> None:
  """Raises ValueError where another reading of the file fits clearly better."""
  order, of_order = _best_order(values_XYZ, near, free_G)
  if of_order < _BETTER * mismatch:
    raise ValueError(f'its density would lie on its atoms with {order}')
  if cell is None:
    return
  if _mismatch(near.own, _promolecule(cell, near)) < _BETTER * mismatch:
    raise ValueError(
      'its density goes on at the other side of the box: say periodic=True'
    )


def _some_points(shape) -> np.ndarray:
  """Returns [3, G] indices of all points, or of _POINTS at random."""
  count = int(np.prod(shape))
  chosen_G = np.arange(count)
  if count > _POINTS:
    chosen_G = np.random.default_rng(0).choice(count, _POINTS, replace=False)
  return np.array(np.unravel_index(chosen_G, shape))


def _mismatch(own_G, free_G) -> float:
  total = own_G.sum()
  return np.abs(own_G - free_G * (total / free_G.sum())).sum() / (2 * total)


def _worst_atom(near: _Sample, free_G, volume) -> tuple[int, float]:
  """Returns the atom about which densities differ most, and by which share."""
  difference_A = np.bincount(near.atom, np.abs(near.own - free_G))
  sum_A = np.bincount(near.atom, near.own + free_G)
  few_A = np.bincount(near.atom) < _FEWEST_POINTS
  few_A |= sum_A * volume < _FEWEST_ELECTRONS
  share_A = np.where(few_A, 0, difference_A / np.where(few_A, 1, sum_A))
  return int(share_A.argmax()), float(share_A.max())


def _best_order(values_XYZ, near: _Sample, free_G) -> tuple[str, float]:
  """Returns the order and directions of axes that fit best, their mismatch."""
  shape = np.array(values_XYZ.shape)
  found = {}
  for order in itertools.permutations(range(3)):
    # The same text, read with its axes in this order.
    other = values_XYZ.reshape(shape[list(order)]).transpose(np.argsort(order))
    for signs in itertools.product((1, -1), repeat=3):
      turned = other[:: signs[0], :: signs[1], :: signs[2]]
      own_G = turned[*near.index]
      if own_G.any():
        found[order, signs] = _mismatch(own_G, free_G)
  order, signs = min(found, key=found.get)
  names = ', '.join('xyz'[axis] for axis in order)
  text = f'the values in the order {names} (slowest to fastest)'
  back = [name for name, sign in zip('xyz', signs, strict=True) if sign < 0]
  text += f' and {" and ".join(back)} backwards' if back else ''
  return text, found[order, signs]


def _promolecule(atoms: _Atoms, near: _Sample) -> np.ndarray:
  """Superposes free atoms, with all electrons or the valence of GFN2-xTB.

  Returns:
    [G] e/Å^3, of both the one that is nearer to the file's.
  """
  points, places = (
    scipy.spatial.KDTree(x) for x in (near.points, atoms.coords)
  )
  pairs = points.sparse_distance_matrix(places, _REACH_A, output_type='ndarray')
  element_P = atoms.numbers[pairs['j']]
  sums_G = []
  for density in (_all_electrons, _valence)[: 1 + (atoms.numbers.max() <= 86)]:
    values_P = np.zeros(len(pairs))
    for z in np.unique(element_P).tolist():
      own_P = element_P == z
      values_P[own_P] = np.interp(pairs['v'][own_P], _RADII_R, density(z))
    sums_G.append(np.bincount(pairs['i'], values_P, len(near.points)))
  return min(sums_G, key=lambda free_G: _mismatch(near.own, free_G))


_RADII_R = np.linspace(0, _REACH_A, 501)


@functools.cache
def _all_electrons(z: int) -> np.ndarray:
  return _radial(functools.partial(fields.promolecule, b_iso=_BLUR_B), z)


@functools.cache
def _valence(z: int) -> np.ndarray:
  return _radial(fields.free_atoms_density, z)


def _radial(density, z: int) -> np.ndarray:
  """Returns an atom's density at _RADII_R, e/Å^3."""
  atom = Molecule.from_arrays([z], np.zeros((1, 3)))
  points_R3 = np.zeros((len(_RADII_R), 3))
  points_R3[:, 0] = _RADII_R
  return np.asarray(density(atom, points_R3))
