"""Gaussian cube files: fields written by programs of quantum chemistry.

`cube_text` has the format, `cube_checks` what a density of its atoms is. A bad
file raises a ValueError that names it.
"""

import contextlib
from typing import NamedTuple

import numpy as np

from data_builders import cube_checks, cube_text
from edjax.chem import units
from edjax.molecule import DensityMap
from edjax.runtime import reading

_LENGTHS_A = {'bohr': units.BOHR_A, 'angstrom': 1.0}
_DENSITIES = {'e/bohr^3': units.BOHR_A**-3, 'e/angstrom^3': 1.0}
_DENSITY_OF = dict(zip(_LENGTHS_A, _DENSITIES, strict=True))
# Å between points, smallest and largest that a density of molecules may have.
_STEPS_A = 0.01, 2.0
# The last plane of a cell may repeat the first, up to the digits of the text.
_SAME_PLANE = 1e-4


class CubeFile(NamedTuple):
  """A density, in Å and e/Å^3.

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


class CubeField(NamedTuple):
  """Any field: as `CubeFile`, with values in the file's unit; A may be 0."""

  title: str
  numbers: np.ndarray
  coords: np.ndarray
  density_map: DensityMap


def read_cube(
  path,
  *,
  length_unit: str = '',
  density_unit: str = '',
  periodic: bool = False,
  max_mismatch: float = cube_checks.MAX_MISMATCH,
) -> CubeFile:
  """Reads a density from a cube file and compares it with its atoms.

  Args:
    path: of the file, plain or gzipped.
    length_unit: 'bohr' or 'angstrom'; '': bohr, as the format has it, but a
      file with negative numbers of points is refused.
    density_unit: 'e/bohr^3' or 'e/angstrom^3'; '': that of the lengths.
    periodic: whether the box is a cell that is repeated. Atoms and values are
      then moved by whole cells until the widest gap between atoms lies at the
      faces, which makes a molecule whole.
    max_mismatch: see `cube_checks.check_density`; 1 allows any density.

  Returns:
    The density with its molecule.

  Raises:
    OSError: no such file.
    ValueError: a damaged file; atoms too close to each other; or something else
      than one density of these atoms (orbitals, several fields, values below 0,
      another unit, frame or order of axes, a density that goes on at the other
      side of the box). The message names the file.
  """
  with _naming(path):
    text = cube_text.parse(reading.unpacked(path))
    if not len(text.numbers):
      raise ValueError(f'0 atoms: {cube_checks.AS_FIELD}')
    n_fields = text.values.shape[-1]
    if text.of_orbitals or n_fields > 1:
      what = 'orbitals' if text.of_orbitals else f'{n_fields} fields'
      raise ValueError(
        f'it holds {what}, not one density: {cube_checks.AS_FIELD}'
      )
    unit = _length_unit(text, length_unit)
    density_unit = density_unit or _DENSITY_OF[unit]
    factor = _one_of(_DENSITIES, density_unit, 'density_unit')
    field = _placed(text, 1, unit, periodic, factor)
    electrons = cube_checks.check_density(
      field.numbers, field.coords, field.density_map, periodic, max_mismatch
    )
  return CubeFile(*field, electrons)


def read_atoms(path) -> tuple[np.ndarray, np.ndarray]:
  """Reads the atoms alone, in bohr as the format has it, without the values.

  Args:
    path: of the file, plain or gzipped.

  Returns:
    [A] atomic numbers, int32; [A, 3] Å.

  Raises:
    OSError: no such file.
    ValueError: a damaged head, or a unit that the file does not tell.
  """
  with _naming(path):
    head = cube_text.parse_head(reading.unpacked(path))
    if not len(head.numbers):
      raise ValueError('it has no atoms')
    return head.numbers, head.coords * _LENGTHS_A[_length_unit(head, '')]


def read_field(
  path, *, field: int = 1, length_unit: str = '', periodic: bool = False
) -> CubeField:
  """Reads any field: orbitals, differences of densities, potentials, ELF.

  Values keep the sign and the unit of the file, and are not compared with the
  atoms, of which there may be none.

  Args:
    path: of the file, plain or gzipped.
    field: which one of several, from 1.
    length_unit: as for `read_cube`.
    periodic: as for `read_cube`.

  Returns:
    The field with its molecule.

  Raises:
    OSError: no such file.
    ValueError: a damaged file, atoms too close to each other, or no such field;
      the message names the file.
  """
  with _naming(path):
    text = cube_text.parse(reading.unpacked(path))
    n_fields = text.values.shape[-1]
    if not 1 <= field <= n_fields:
      raise ValueError(f'field must be 1 to {n_fields}, not {field}')
    unit = _length_unit(text, length_unit)
    return _placed(text, field, unit, periodic, 1.0)


@contextlib.contextmanager
def _naming(path):
  """Adds the name of the file to errors in the block."""
  try:
    yield
  except (ValueError, OverflowError) as error:
    raise ValueError(f'{path}: {error}') from error


def _one_of(table, name, argument):
  if name not in table:
    raise ValueError(f'{argument} must be one of {list(table)}, not {name!r}')
  return table[name]


def _length_unit(
  text: cube_text.Cube | cube_text.Head, length_unit: str
) -> str:
  if text.negative and not length_unit:
    raise ValueError(
      'by negative numbers of points (lines 4 to 6) some programs mean Å, '
      "others bohr: say length_unit='angstrom' or 'bohr'"
    )
  length_unit = length_unit or 'bohr'
  _one_of(_LENGTHS_A, length_unit, 'length_unit')
  return length_unit


def _placed(text, field, length_unit, periodic, factor) -> CubeField:
  """Returns a field of a file in Å, its values times a factor."""
  scale = _LENGTHS_A[length_unit]
  coords, origin, steps = (
    x * scale for x in (text.coords, text.origin, text.steps)
  )
  lengths = np.linalg.norm(steps, axis=1)
  if not (
    _STEPS_A[0] <= lengths.min()
    and lengths.max() <= _STEPS_A[1]
    and abs(np.linalg.det(steps)) > 1e-3 * np.prod(lengths)
  ):
    raise ValueError(f'steps of {np.round(lengths, 4).tolist()} Å, or flat')
  cube_checks.check_bonds(text.numbers, coords, length_unit)
  values = text.values[..., field - 1] * factor
  if periodic:
    coords, values, origin = _whole(coords, values, origin, steps)
  if np.abs(values).max() > np.finfo(np.float32).max:
    raise ValueError(f'a value of {np.abs(values).max():.3g} is too large')
  density_map = DensityMap(values.astype(np.float32), origin, steps)
  return CubeField(text.title, text.numbers, coords, density_map)


def _whole(coords_A3, values_XYZ, origin_3, steps_33):
  """Moves atoms and values of a cell; see `read_cube`."""
  for axis in range(3):
    first, last = np.moveaxis(values_XYZ, axis, 0)[[0, -1]]
    scale = np.abs(values_XYZ).max() * _SAME_PLANE
    if scale < np.abs(first).max() and np.abs(first - last).max() < scale:
      values_XYZ = np.delete(values_XYZ, -1, axis)
  points = np.array(values_XYZ.shape)
  cell_33 = steps_33 * points[:, None]
  fraction_A3 = (coords_A3 - origin_3) @ np.linalg.inv(cell_33)
  begin_3 = np.zeros(3, int)
  for axis in range(3 if len(coords_A3) else 0):
    x = np.sort(fraction_A3[:, axis] % 1)
    gaps = np.diff(x, append=x[0] + 1)
    middle = x[gaps.argmax()] + gaps.max() / 2
    # As near as possible to where the box was.
    begin_3[axis] = round((middle - round(middle)) * points[axis])
  values_XYZ = np.roll(values_XYZ, -begin_3, (0, 1, 2))
  begin = begin_3 / points
  fraction_A3 = (fraction_A3 - begin) % 1 + begin
  return (
    origin_3 + fraction_A3 @ cell_33, values_XYZ, origin_3 + begin @ cell_33
  )  # fmt: skip
