"""CCP4 maps, which are MRC maps as well."""

from collections.abc import Sequence

import numpy as np

from edjax.export.box import Box
from edjax.export.volume import Volume

# Words of the header, from 1 (https://www.ccpem.ac.uk/mrc-format/mrc2014/).
_START, _LABELS, _FIRST_LABEL = 5, 56, 57
_LABEL_WIDTH = 80


def write(path, volume: Volume) -> None:
  """Writes a field as a map of float32 with the axes x, y, z.

  The place of the box is in NXSTART, NYSTART and NZSTART (words 5 to 7), in
  steps; the box begins at a whole one. ORIGIN (words 50 to 52) stays 0. All
  programs looked at put such a map on its atoms: gemmi and Coot (clipper) read
  NSTART alone; PyMOL and ChimeraX read it in .ccp4 files, and in .map and .mrc
  files where ORIGIN is 0, and ORIGIN alone otherwise; 3Dmol.js adds both up.
  The space group is 1, which Coot and mrcfile take for a volume without
  symmetry, and the cell is the box.

  Args:
    path: of the file.
    volume: the field; two labels have its name, unit and settings.

  Raises:
    OSError: the file cannot be written.
  """
  labels = f'edjax: {volume.title}, point values', volume.about
  write_values(path, volume.values_XYZ, volume.box, labels)


def write_values(path, values_XYZ, box: Box, labels: Sequence[str]) -> None:
  """Writes values on a box; arguments and errors as for `write`."""
  import gemmi

  edges = np.array(box.shape) * box.spacing
  ccp4 = gemmi.Ccp4Map()
  ccp4.grid = gemmi.FloatGrid(
    values_XYZ,
    gemmi.UnitCell(*edges, 90, 90, 90),
    gemmi.SpaceGroup('P 1'),
  )
  ccp4.update_ccp4_header(2, True)  # float32; with minimum, maximum and mean
  for axis, start in enumerate(box.start):
    ccp4.set_header_i32(_START + axis, start)
  ccp4.set_header_i32(_LABELS, len(labels))
  for i, label in enumerate(labels):
    words = i * _LABEL_WIDTH // 4
    ccp4.set_header_str(
      _FIRST_LABEL + words, label[:_LABEL_WIDTH].ljust(_LABEL_WIDTH)
    )
  try:
    ccp4.write_ccp4_map(str(path))
  except RuntimeError as error:
    raise OSError(f'{path}: {error}') from error
