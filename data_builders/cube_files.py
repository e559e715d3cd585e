"""Gaussian cube files: densities written by programs of quantum chemistry.

The format is that of Gaussian's cubegen (https://gaussian.com/cubegen/), as
ORCA, PySCF, Psi4, CP2K and others write it: two lines of text; the number of
atoms and the origin; number of points and step along each of three axes; a line
for each atom; the values, the third axis varying fastest. Lengths are bohr,
densities e/bohr^3. A bad file raises a ValueError that names it.
"""

import pathlib
import warnings
from typing import NamedTuple

import numpy as np

from edjax.chem import elements, units
from edjax.molecule import DensityMap
from edjax.runtime import reading

# Text of 512 MiB (`reading.MAX_BYTES`) cannot hold more values: each takes a
# digit and a blank.
_MAX_POINTS = reading.MAX_BYTES // 2
_MAX_ATOMS = 10**5
# Å between points, smallest and largest that a density of molecules may have.
_STEPS_A = 0.01, 2.0
# A density may fall below 0 by rounding or fitting, by this share of its
# largest value; orbitals and differences fall as far below 0 as they rise above
# it.
_NEGATIVE = 1e-3
# Electrons on the grid, over those of the nuclei. The grid may hold too many
# where points are far apart: a point at a cusp counts for its whole cell.
_ELECTRONS = 0.1, 2.0


class CubeFile(NamedTuple):
  """The contents of a file, in Å and e/Å^3.

  Attributes:
    title: the two lines of text.
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å, the frame of the file.
    density_map: `edjax.molecule.DensityMap` in the same frame, for
      `Molecule.from_arrays`. Its values are points, not means over voxels.
    electrons: sum of the values times the volume of a step: all electrons, or
      the valence from pseudopotentials, frozen cores or xTB; fewer where the
      box cuts the density.
  """

  title: str
  numbers: np.ndarray
  coords: np.ndarray
  density_map: DensityMap
  electrons: float


def read_cube(path) -> CubeFile:
  """Reads a density from a cube file.

  Args:
    path: of the file, plain or gzipped.

  Returns:
    The density with its molecule.

  Raises:
    OSError: no such file.
    ValueError: a damaged file, or one that holds something else than one
      density (orbitals, several fields, values below 0, or a sum that no number
      of electrons comes to); the message names the file.
  """
  path = pathlib.Path(path)
  data = reading.unpacked(path)
  try:
    return _parsed(data)
  except (ValueError, OverflowError) as error:
    raise ValueError(f'{path}: {error}') from error


def _parsed(data: bytes) -> CubeFile:
  head = data.split(b'\n', 6)
  if len(head) < 7:
    raise ValueError(f'{len(head)} lines are not even the head of a cube file')
  title = b'\n'.join(head[:2]).decode('utf-8', 'replace').strip()
  count, origin_3 = _row(head[2], 3, 'the number of atoms and the origin')
  axes = [_row(head[i], i + 1, 'points and step of an axis') for i in (3, 4, 5)]
  if count < 0:
    raise ValueError('it holds orbitals (its number of atoms is negative)')
  if not 1 <= count <= _MAX_ATOMS:
    raise ValueError(f'line 3: {count} atoms')
  shape = tuple(n for n, _ in axes)
  if min(shape) < 0:
    raise ValueError(
      f'points of the axes are {shape}: of negative numbers some programs mean '
      'Å, others bohr; write them positive, and lengths in bohr'
    )
  if min(shape) < 2 or np.prod(shape, dtype=float) > _MAX_POINTS:
    raise ValueError(f'points of the axes are {shape}')
  rest = head[6].split(b'\n', count)
  if len(rest) <= count:
    raise ValueError(f'line 3 announces {count} atoms, the file ends before')
  numbers_A, coords_A3 = _atoms(rest[:count])
  values = _values(rest[count], int(np.prod(shape)))
  steps_33 = np.array([step_3 for _, step_3 in axes]) * units.BOHR_A
  volume = abs(np.linalg.det(steps_33))
  lengths = np.linalg.norm(steps_33, axis=1)
  if not (
    _STEPS_A[0] <= lengths.min()
    and lengths.max() <= _STEPS_A[1]
    and volume > 1e-3 * np.prod(lengths)
  ):
    raise ValueError(f'steps of {np.round(lengths, 4).tolist()} Å, or flat')
  values_XYZ = values.reshape(shape) / units.BOHR_A**3
  electrons = float(values_XYZ.sum() * volume)
  _check_density(values_XYZ, electrons, numbers_A)
  return CubeFile(
    title=title,
    numbers=numbers_A,
    coords=coords_A3,
    density_map=DensityMap(
      values_XYZ.astype(np.float32), origin_3 * units.BOHR_A, steps_33
    ),
    electrons=electrons,
  )


def _row(line: bytes, number: int, what: str) -> tuple[int, np.ndarray]:
  """Parses a whole number and three others; a fifth counts the fields."""
  words = line.split()
  if len(words) not in (4, 5):
    raise ValueError(f'line {number}: {what} expected')
  if len(words) == 5 and words[4] != b'1':
    raise ValueError(
      f'line {number}: it holds {words[4].decode("ascii", "replace")} fields, '
      'not one density'
    )
  first, *others = (_number(word, number) for word in words[:4])
  if first != int(first):
    raise ValueError(f'line {number}: {what} expected')
  return int(first), np.array(others)


def _number(word: bytes, line: int) -> float:
  try:
    value = float(word.replace(b'D', b'E').replace(b'_', b'?'))
  except ValueError:
    value = np.nan
  if not np.isfinite(value):
    text = word[:20].decode('ascii', 'replace')
    raise ValueError(f'line {line}: {text!r} is no finite number')
  return value


def _atoms(lines: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
  rows = []
  for number, line in enumerate(lines, start=7):
    words = line.split()
    if len(words) != 5:
      raise ValueError(
        f'line {number}: atomic number, charge and three coordinates expected'
      )
    # The second is a charge, whose meaning differs between programs.
    rows.append([_number(word, number) for word in words])
  table = np.array(rows)
  whole = table[:, 0].astype(np.int64)
  if (whole != table[:, 0]).any():
    raise ValueError('atomic numbers must be whole')
  numbers_A = elements.check_numbers(whole)
  return numbers_A.astype(np.int32), table[:, 2:] * units.BOHR_A


def _values(text: bytes, count: int) -> np.ndarray:
  # Before 2.4, NumPy stops at text that is no number, and only warns.
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    try:
      values = np.fromstring(text.replace(b'D', b'E'), np.float64, sep=' ')
    except (DeprecationWarning, ValueError) as error:
      raise ValueError('there is something else among its values') from error
  if len(values) != count:
    raise ValueError(f'its axes announce {count} values, it has {len(values)}')
  if not np.isfinite(values).all():
    raise ValueError('values that are not finite')
  return values


def _check_density(values_XYZ, electrons: float, numbers_A) -> None:
  lowest, highest = values_XYZ.min(), values_XYZ.max()
  if lowest < -_NEGATIVE * highest:
    raise ValueError(
      f'values from {lowest:.3g} to {highest:.3g} e/Å^3 are no density: an '
      'orbital, a difference, or another function?'
    )
  total = int(numbers_A.sum())
  if not _ELECTRONS[0] * total <= electrons <= _ELECTRONS[1] * total:
    raise ValueError(
      f'its values sum up to {electrons:.3g} electrons, where the nuclei have '
      f'{total}: is it a density in e/bohr^3, with lengths in bohr?'
    )
