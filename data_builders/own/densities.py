"""Makes the record of a user's molecule from the density of a file, not of xTB.

A density is a Gaussian cube, in electrons, or a crystallographic or microscopic
map (CCP4, MRC, MTZ) in standard deviations, as those of complexes are.
"""

import pathlib
from typing import NamedTuple

import numpy as np
import scipy.spatial

from data_builders import cube_files
from data_builders.density_maps import crystal_maps
from data_builders.molecules.records import Calculated
from data_builders.own import folders, records
from data_builders.own.types import Raw, RecordError
from data_builders.pdbbind import maps as maps_lib
from data_builders.pdbbind.readers.types import Files
from edjax.chem import gfn2_occupations
from edjax.datasets import CORE_STEP, MAP_KINDS
from edjax.molecule import DensityMap, frame_origin

# The function that worker processes run on each record.
FUNCTION = 'data_builders.own.densities:calculate'
# Å between a cube's points: of valence electrons at most, whose density changes
# little over it; of all electrons at least, so that sub-points of voxels do not
# miss the cores (`data_checks.check_densities`).
_STEP = CORE_STEP
# Å between values of other maps, at most, and how far beyond the atom that is
# farthest from the origin they are kept.
_MAP_STEP, _AROUND = 0.5, 3.0
# Å about atoms in which a file must have values, points there of each atom.
_NEAR, _POINTS = 1.5, 64
# Å by which a heavy atom of a cube may be elsewhere than in the file beside it.
_SAME_PLACE = 0.05


class Density(NamedTuple):
  """A density of a file, with the atoms in its frame.

  Attributes:
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å.
    density_map: e/Å^3, or sd.
    kind: of `datasets.MAP_KINDS`.
    electrons: sum over the file; NaN for sd.
  """

  numbers: np.ndarray
  coords: np.ndarray
  density_map: DensityMap
  kind: str
  electrons: float


def calculate(raw: Raw, options: maps_lib.Options) -> Calculated:
  """Reads the density of a record.

  Args:
    raw: as it was read.
    options: how maps are read, and their limits.

  Returns:
    The example: keys of `records.described`, map_values (flat), map_shape,
    map_origin and map_steps (see `molecule.DensityMap`; the frame of
    positions), map_kind, map_electrons, and no orbitals.

  Raises:
    RecordError: `raw.problem`, there is no density, or it is of other atoms.
    ValueError: the density cannot be used; the message names the file.
  """
  if raw.problem:
    raise RecordError(raw.problem)
  path = pathlib.Path(raw.density)
  read = _of_cube if folders.suffix(path) in folders.CUBES else _of_map
  found = read(raw, path, options)
  values_XYZ, origin_3, steps_33 = (
    np.asarray(x)
    for x in (
      found.density_map.values_XYZ,
      found.density_map.origin_3,
      found.density_map.steps_33,
    )
  )
  example = {
    'example_id': raw.example_id,
    'index': raw.index,
    'smiles': raw.smiles,
    'numbers': found.numbers,
    'positions': found.coords,
    'orbitals': np.zeros(0, np.float32),
    'n_orbitals': 0,
    'orbital_width': 4,
    'map_values': values_XYZ.astype(np.float32).ravel(),
    'map_shape': np.array(values_XYZ.shape, np.int32),
    'map_origin': origin_3.astype(np.float64),
    'map_steps': steps_33.astype(np.float64),
    'map_kind': np.float64(MAP_KINDS.index(found.kind)),
    'map_electrons': np.float64(found.electrons),
    **records.described(raw, found.numbers, made_up=False),
  }
  return Calculated(example, 0.0, raw.notes)


def _of_cube(raw: Raw, path, options: maps_lib.Options) -> Density:
  """Reads a cube; atoms are its own, where its density was calculated."""
  _check_atoms(raw, path)
  cube = cube_files.read_cube(path, periodic=bool(options.periodic))
  full = cube.density_map
  index_G3 = (_near(cube.coords) - full.origin_3) @ np.linalg.inv(full.steps_33)
  last_3 = np.array(full.values_XYZ.shape) - 1
  # A value stands for half a step around it.
  inside_G = ((index_G3 >= -0.5) & (index_G3 <= last_3 + 0.5)).all(1)
  missing = float(1 - inside_G.mean())
  if missing > options.max_missing:
    raise RecordError(
      f'{path.name}: {missing:.0%} of the space within {_NEAR:g} Å of its '
      'atoms are outside of its box, more than config.data.max_map_missing='
      f'{options.max_missing:g}'
    )
  kind = kind_of(cube.numbers, raw.charge, cube.electrons)
  coarse = coarsened(full, has_cores=kind == 'all_electron')
  return Density(cube.numbers, cube.coords, coarse, kind, cube.electrons)


def _check_atoms(raw: Raw, path) -> None:
  """Raises RecordError where a cube's heavy atoms are not the record's."""
  numbers_A, coords_A3 = cube_files.read_atoms(path)
  own, others = (
    np.column_stack([x[n > 1], 1e3 * n[n > 1]])  # other elements are far
    for n, x in ((numbers_A, coords_A3), (raw.numbers, raw.coords))
  )
  if len(own) != len(others):
    raise RecordError(
      f'{path.name} has {len(own)} heavy atoms, the file beside it '
      f'{len(others)}'
    )
  if not len(own):
    return
  apart, other = scipy.spatial.KDTree(others).query(own)
  if apart.max() > _SAME_PLACE or len({*other.tolist()}) < len(own):
    raise RecordError(
      f'heavy atoms of {path.name} and of the file beside it do not lie at one '
      'place: are they of one molecule, in one frame?'
    )


def _of_map(raw: Raw, path, options: maps_lib.Options) -> Density:
  """Cuts a cube about the molecule out of a map in sd."""
  crystal_map = maps_lib.read(
    Files(raw.example_id, density_map=path), raw.coords, options
  )
  missing = crystal_maps.missing_at(crystal_map, _near(raw.coords))
  maps_lib.check(
    crystal_map,
    missing,
    raw.coords[raw.numbers > 1] if (raw.numbers > 1).any() else raw.coords,
    options,
    region=f'the space within {_NEAR:g} Å of the atoms',
    model='the molecule',
  )
  centre_3 = frame_origin(raw.numbers, raw.coords, np.zeros(len(raw.numbers)))
  reach = np.linalg.norm(raw.coords - centre_3, axis=1).max()
  cut = crystal_maps.cut_cube(
    crystal_map,
    centre_3,
    2 * (reach + _AROUND),
    min(_MAP_STEP, crystal_map.spacing),
  )
  return Density(
    raw.numbers,
    raw.coords,
    DensityMap(*cut[:3]),
    'sigma',
    float('nan'),
  )


def _near(coords_A3) -> np.ndarray:
  """Returns points [G, 3] in balls about atoms, the same for each."""
  draw = np.random.default_rng(0)
  way_P3 = draw.standard_normal((_POINTS, 3))
  way_P3 /= np.linalg.norm(way_P3, axis=1, keepdims=True)
  ball_P3 = _NEAR * np.cbrt(draw.random((_POINTS, 1))) * way_P3
  return (coords_A3[:, None] + ball_P3).reshape(-1, 3)


def coarsened(density_map: DensityMap, has_cores: bool) -> DensityMap:
  """Makes the points of a density about _STEP apart; no electrons are lost.

  Values are means over blocks of points. Where there are cores, a point gives
  its electrons to both neighbours on the coarser grid, by its distance from
  them: with means over blocks their places would move by up to half a step, and
  the dipole moment with them.

  Args:
    density_map: of numpy arrays.
    has_cores: whether points are at least _STEP apart, and not at most.

  Returns:
    The map, or one of equal values if its points are as far apart.
  """
  steps_33, values_XYZ = density_map.steps_33, density_map.values_XYZ
  ratio_3 = _STEP / np.linalg.norm(steps_33, axis=1)
  whole_3 = np.ceil(ratio_3 - 1e-6) if has_cores else np.floor(ratio_3 + 1e-6)
  block_3 = np.maximum(1, whole_3).astype(int)
  weights = _shared if has_cores else _in_blocks
  for axis, block in enumerate(block_3.tolist()):
    weight_WW = weights(values_XYZ.shape[axis], block) / block
    coarse = np.tensordot(weight_WW, values_XYZ, (1, axis))
    values_XYZ = np.moveaxis(coarse, 0, axis)
  first_3 = np.zeros(3) if has_cores else (block_3 - 1) / 2
  return DensityMap(
    values_XYZ.astype(np.float32),
    density_map.origin_3 + first_3 @ steps_33,
    steps_33 * block_3[:, None],
  )


def _in_blocks(points: int, block: int) -> np.ndarray:
  """Returns which of an axis' points are in a block, [coarse, points]."""
  number_W = np.arange(points) // block
  return (np.arange(number_W[-1] + 1)[:, None] == number_W).astype(float)


def _shared(points: int, block: int) -> np.ndarray:
  """Returns the shares of points that coarser points get, [coarse, points]."""
  place_W = np.arange(points) / block
  coarse_W = np.arange(np.ceil(place_W[-1]) + 1)
  return np.maximum(0, 1 - np.abs(coarse_W[:, None] - place_W))


def kind_of(numbers_A, charge: int, electrons: float) -> str:
  """Returns which electrons a density has: of `datasets.MAP_KINDS`.

  Sums over points err by the cusps at nuclei, so that the nearer number counts:
  all electrons, or the valence electrons of GFN2-xTB.

  Args:
    numbers_A: atomic numbers.
    charge: total charge.
    electrons: sum over the file.
  """
  valence = float(gfn2_occupations.valence_electrons(numbers_A).sum()) - charge
  cores = float(np.sum(numbers_A)) - charge - valence
  if not cores > 0:  # only H and He, or beyond Rn
    return 'electrons'
  return 'all_electron' if electrons - valence > cores / 2 else 'valence'
