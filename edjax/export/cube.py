"""Gaussian cube files."""

import pathlib

import numpy as np

from edjax.chem import units
from edjax.export.volume import Volume

# Values in atomic units, as programs expect of cube files: the factor and the
# name of each unit. Other units stay.
_ATOMIC = {
  'e/Å^3': (units.BOHR_A**3, 'e/bohr^3'),
  'e/Å^3/Å': (units.BOHR_A**4, 'e/bohr^4'),
  'Ha/Å^3': (units.BOHR_A**3, 'Ha/bohr^3'),
  'V': (1 / units.HARTREE_EV, 'Ha/e'),
}
_PER_LINE = 6


def write(path, volume: Volume) -> None:
  """Writes a field with its atoms, in bohr and atomic units.

  The format (https://gaussian.com/cubegen/) has 5 and 6 decimals. Readers take
  numbers of any width: here values have the digits of float32, and lengths do
  not add up to a shift over the grid.

  Args:
    path: of the file.
    volume: the field.

  Raises:
    OSError: the file cannot be written.
  """
  factor, unit = _ATOMIC.get(volume.unit, (1.0, volume.unit))
  title = f'{volume.name}{", " * bool(unit)}{unit}'.replace('Å', 'A')
  steps_33 = np.eye(3) * volume.box.spacing
  rows = [(len(volume.numbers_A), volume.box.origin_3)]
  rows += zip(volume.box.shape, steps_33, strict=True)
  lines = [f'edjax: {title}, point values', volume.about or volume.name]
  lines += [_row(n, of_3 / units.BOHR_A) for n, of_3 in rows]
  for number, place_3 in zip(volume.numbers_A, volume.coords_A3, strict=True):
    lines.append(_row(number, [number, *place_3 / units.BOHR_A]))
  # Lines end with each row along z.
  n_y, n_z = volume.box.shape[1:]
  whole, rest = divmod(n_z, _PER_LINE)
  row = (' %.8E' * _PER_LINE + '\n') * whole
  row += (' %.8E' * rest + '\n') * bool(rest)
  with pathlib.Path(path).open('w', encoding='ascii') as file:
    file.write('\n'.join(lines) + '\n')
    for values_YZ in volume.values_XYZ.astype(np.float64) * factor:
      file.write(row * n_y % tuple(values_YZ.ravel().tolist()))


def _row(number: int, reals) -> str:
  return f'{number:5d}' + ''.join(f' {x:14.9f}' for x in reals)
