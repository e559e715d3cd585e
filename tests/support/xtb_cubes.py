"""Cubes and maps of molecules' densities, in any frame."""

import functools

import gemmi
import jax
import numpy as np
from support import cubes

from data_builders import xtb
from edjax import fields
from edjax.chem import units
from edjax.molecule import Molecule

# Points at once, and padding: one program for all molecules.
_AT_ONCE = 20_000
_PADDING = {'max_atoms': 24, 'max_orbitals': 40, 'orbital_width': 4}
_density = jax.jit(fields.orbital_density)


@functools.cache
def orbitals(numbers: tuple, coords: bytes) -> np.ndarray:
  """Returns GFN2-xTB's orbitals of a neutral molecule."""
  return xtb.run(
    np.array(numbers), np.frombuffer(coords).reshape(-1, 3)
  ).orbitals


def orbitals_of(record) -> np.ndarray:
  """Returns the orbitals of a record, calculated once."""
  return orbitals(tuple(record.numbers.tolist()), record.coords.tobytes())


def of_record(record, step=0.25, margin=2.6, turn=None, shift=0.0, place=0):
  """Returns the valence density of GFN2-xTB as a `cubes.Grid`.

  Args:
    record: molecule without d functions.
    step: between points, Å.
    margin: around the nuclei, Å.
    turn: rotation of the molecule in the frame of the file.
    shift: of the values along x against the atoms, Å.
    place: of the molecule along x in the frame of the file, Å.
  """
  turn_33 = np.eye(3) if turn is None else np.asarray(turn)
  place_3 = np.array([7.0 + place, -3.0, 2.0])  # far from the origin
  coords = record.coords @ turn_33.T + place_3
  low = coords.min(0) - margin
  shape = np.ceil((coords.max(0) + margin - low) / step).astype(int)
  index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1)
  points = (low + index.reshape(-1, 3) * step - place_3) @ turn_33
  mol = Molecule.from_arrays(
    record.numbers, record.coords, orbitals_of(record), center=False, **_PADDING
  )
  short = -len(points) % _AT_ONCE
  parts = np.pad(points, ((0, short), (0, 0))).reshape(-1, _AT_ONCE, 3)
  values = np.concatenate(
    [np.asarray(_density(mol, part.astype(np.float32))) for part in parts]
  )
  bohr = units.BOHR_A
  low[0] += shift
  return cubes.Grid(
    record.numbers,
    coords / bohr,
    low / bohr,
    np.eye(3) * step / bohr,
    values[: len(points)].reshape(shape) * bohr**3,
  )


def write_ccp4(path, coords, edge=16.0, points=32):
  """Writes Gaussians of 0.9 Å about atoms in a box about the origin."""
  x = np.arange(points) * edge / points - edge / 2
  values = np.zeros((points,) * 3)
  for atom in coords:
    waves = [np.exp(-((x - place) ** 2) / (2 * 0.9**2)) for place in atom]
    values += np.einsum('i,j,k', *waves)
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = gemmi.FloatGrid(values.astype(np.float32))
  ccp4.grid.set_unit_cell(gemmi.UnitCell(edge, edge, edge, 90, 90, 90))
  ccp4.grid.spacegroup = gemmi.SpaceGroup('P 1')
  ccp4.update_ccp4_header()
  for word in (5, 6, 7):
    ccp4.set_header_i32(word, -points // 2)
  ccp4.write_ccp4_map(str(path))
