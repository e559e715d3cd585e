"""OpenDX files, as APBS writes them and VMD, PyMOL and ChimeraX read them."""

import pathlib

import numpy as np

from edjax.export.volume import Volume

_PER_LINE = 3
# Values that are made text at once, a multiple of those of a line.
_AT_ONCE = 3 * 2**16


def write(path, volume: Volume) -> None:
  """Writes a field on a regular grid, in Å, z varying fastest.

  The format: APBS's page "OpenDX scalar data"
  (https://apbs.readthedocs.io/en/latest/formats/opendx.html).

  Args:
    path: of the file.
    volume: the field; comments have its name, unit and settings.

  Raises:
    OSError: the file cannot be written.
  """
  box = volume.box
  counts = ' '.join(map(str, box.shape))
  count = int(np.prod(box.shape))
  head = [
    f'# edjax: {volume.title}, point values; lengths in A',
    f'# {volume.about}',
    f'object 1 class gridpositions counts {counts}',
    'origin ' + ' '.join(f'{x:.9g}' for x in box.origin_3),
    *(
      'delta ' + ' '.join(f'{x:.9g}' for x in step_3)
      for step_3 in np.eye(3) * box.spacing
    ),
    f'object 2 class gridconnections counts {counts}',
    f'object 3 class array type double rank 0 items {count} data follows',
  ]
  tail = [
    'attribute "dep" string "positions"',
    'object "regular positions regular connections" class field',
    'component "positions" value 1',
    'component "connections" value 2',
    'component "data" value 3',
  ]
  values = volume.values_XYZ.ravel()
  row = ' '.join(['%.8e'] * _PER_LINE) + '\n'
  with pathlib.Path(path).open('w', encoding='ascii') as file:
    file.write('\n'.join(head) + '\n')
    for begin in range(0, count, _AT_ONCE):
      part = values[begin : begin + _AT_ONCE].tolist()
      whole, rest = divmod(len(part), _PER_LINE)
      last = ' '.join(['%.8e'] * rest) + '\n' * bool(rest)
      file.write((row * whole + last) % tuple(part))
    file.write('\n'.join(tail) + '\n')
