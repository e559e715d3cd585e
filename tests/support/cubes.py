"""Cube files of PySCF's densities, as other programs and users write them."""

from typing import NamedTuple

import numpy as np
from pyscf import gto, scf
from pyscf.dft import numint

from edjax.chem import units

WATER = 'O 0.1 0.2 0.117; H 0 0.757 -0.471; H 0 -0.757 -0.471'


class Grid(NamedTuple):
  """Bohr and e/bohr^3: coords [A, 3], origin [3], steps [3, 3], values."""

  numbers: np.ndarray
  coords: np.ndarray
  origin: np.ndarray
  steps: np.ndarray
  values: np.ndarray


def density(atoms, step=0.4, margin=5.0, charge=0, ecp=None, origin=None):
  """Returns the Hartree-Fock density of a molecule on a grid, bohr.

  Args:
    atoms: as PySCF has them, Å.
    step: between points.
    margin: around the nuclei; no axis has as many points as another.
    charge: of the molecule.
    ecp: name of PySCF's potentials for cores, and of their basis.
    origin: of the grid; by default it depends on the atoms alone.
  """
  mol = gto.M(
    atom=atoms, charge=charge, basis=ecp or '6-31g', ecp=ecp, verbose=0
  )  # fmt: skip
  matrix = scf.RHF(mol).run().make_rdm1()
  coords = mol.atom_coords()
  low = coords.min(0) - margin if origin is None else np.array(origin)
  shape = np.ceil((coords.max(0) + margin - low) / step).astype(int)
  shape += np.arange(3)
  index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1)
  points = low + index.reshape(-1, 3) * step
  values = [
    numint.eval_rho(mol, numint.eval_ao(mol, some), matrix)
    for some in np.array_split(points, 8)
  ]
  numbers = np.array([gto.charge(mol.atom_symbol(i)) for i in range(mol.natm)])
  values = np.concatenate(values).reshape(shape)
  return Grid(numbers, coords, low, np.eye(3) * step, values)


def write(path, grid: Grid, number_format='{:13.5E}', sign=1, head='', count=1):
  """Writes a cube file.

  Args:
    path: of the file.
    grid: what it holds; values may be [X, Y, Z, F].
    number_format: of a value.
    sign: of the numbers of points.
    head: a line after the atoms; with it the number of atoms is negative.
    count: number of values of a point, after line 3's origin.

  Returns:
    The path.
  """
  n = len(grid.numbers)
  fields = f' {count}' if count > 1 else ''
  lines = ['a title', 'and another']
  lines.append(f'{-n if head else n} {_row(grid.origin)}{fields}')
  for points, step in zip(grid.values.shape, grid.steps, strict=False):
    lines.append(f'{sign * points} {_row(step)}')
  for number, place in zip(grid.numbers, grid.coords, strict=True):
    lines.append(f'{number} 0.0 {_row(place)}')
  lines += [head] if head else []
  # A new line begins with every run along the third axis.
  for row in grid.values.reshape(-1, grid.values[0, 0].size):
    for i in range(0, len(row), 6):
      lines.append(' '.join(number_format.format(x) for x in row[i : i + 6]))
  path.write_text('\n'.join([*lines, '']))
  return path


def in_angstrom(grid: Grid) -> Grid:
  """Returns the same in Å and e/Å^3."""
  scale = units.BOHR_A
  lengths = (x * scale for x in (grid.coords, grid.origin, grid.steps))
  return Grid(grid.numbers, *lengths, grid.values / scale**3)


def _row(values) -> str:
  return ' '.join(f'{x:.6f}' for x in values)
