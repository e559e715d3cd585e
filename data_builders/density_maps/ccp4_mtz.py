"""Files of density maps, read by gemmi: whole unit cells, or a box.

CCP4/MRC (https://www.ccpem.ac.uk/mrc-format/mrc2014/) and map coefficients in
MTZ (https://www.ccp4.ac.uk/html/mtzformat.html) or SF-mmCIF. A bad file raises
a ValueError that names it.
"""

import contextlib
import gzip
import tempfile
import zlib

import numpy as np

from data_builders.density_maps import ccp4_header
from edjax.runtime import reading

# Amplitudes and phases, in the order in which they are tried: Refmac, Servalcat
# and SF-mmCIF (pdbx_FWT, as gemmi renames it); BUSTER and phenix.refine, also
# with missing reflections left out or filled in; older BUSTER; SIGMAA.
COLUMNS = {
  '2fofc': (
    ('FWT', 'PHWT'),
    ('2FOFCWT', 'PH2FOFCWT'),
    ('2FOFCWT_no_fill', 'PH2FOFCWT_no_fill'),
    ('2FOFCWT_fill', 'PH2FOFCWT_fill'),
    ('2FOFCWT_iso-fill', 'PH2FOFCWT_iso-fill'),
    ('2FOFCWT_aniso-fill', 'PH2FOFCWT_aniso-fill'),
    ('2FOFCWT', '2PHFOFCWT'),
    ('FWT', 'PHIC'),
  ),
  'fofc': (
    ('DELFWT', 'PHDELWT'), ('FOFCWT', 'PHFOFCWT'), ('DELFWT', 'PHIC'),
  ),
}  # fmt: skip
# Points to the shortest wavelength in maps that are computed here. With 4,
# tricubic interpolation errs by 0.04 sd at the atoms of a 1.85 Å map; with
# the customary 3, by 0.12 sd.
SAMPLE_RATE = 4.0
# Computing a map needs memory for three times its points: 512^3 are 1.5 GiB.
_MAX_COMPUTED = 2**27
# In standard deviations. Mates of the same point differ by the rounding of 8
# bits, 0.08 sd; under a wrong symmetry by 1.4 sd.
_MAX_DISAGREEMENT = 0.5


def read_mtz(path, kind: str, columns: tuple[str, str] | None, cell=None):
  """Computes the map from the coefficients of an MTZ or SF-mmCIF file.

  Args:
    path: of the file, plain or gzipped (its first bytes tell): MTZ, or with
      another suffix than .mtz structure factors in mmCIF.
    kind: of COLUMNS.
    columns: amplitudes and phases with other names, or None.
    cell: gemmi.UnitCell of the model's crystal, or None.

  Returns:
    gemmi.FloatGrid of the unit cell, and the resolution in Å.

  Raises:
    OSError: no such file.
    ValueError: the file is damaged, has no such columns or is of another
      crystal than the model.
  """

  with _naming(path):
    data = reading.unpacked(path)
    is_mtz = path.name.lower().removesuffix('.gz').endswith('.mtz')
    mtz = _mtz(data) if is_mtz else _mtz_of_mmcif(data)
    types = {c.label: c.type for c in mtz.columns}
    amplitude, phase = _find_columns(types, kind, columns)
    if mtz.spacegroup is None:
      raise ValueError('the file has no known space group')
    if not mtz.cell.is_crystal():
      raise ValueError(
        f'the file has no unit cell ({ccp4_header.said(mtz.cell.parameters)})'
      )
    ccp4_header.check_cell(mtz.cell.parameters, cell)
    shape = list(mtz.get_size_for_hkl(sample_rate=SAMPLE_RATE))
    if min(shape) < 1 or np.prod(shape, dtype=float) > _MAX_COMPUTED:
      raise ValueError(f'a map of {shape} points is impossible or too large')
    has_F = np.isfinite(mtz.column_with_label(amplitude).array)
    has_F &= np.isfinite(mtz.column_with_label(phase).array)
    if not has_F.any():
      raise ValueError(f'all of {amplitude} or {phase} is missing')
    d_min = 1 / np.sqrt(mtz.make_1_d2_array()[has_F].max())
    grid = mtz.transform_f_phi_to_map(amplitude, phase, sample_rate=SAMPLE_RATE)
  return grid, float(d_min)


def _mtz(data: bytes):
  import gemmi

  # gemmi accepts a file without its end and leaves out what stood there.
  if b'MTZENDOFHEADERS' not in data:
    raise ValueError('the end of the file is missing, or it is not MTZ')
  with tempfile.NamedTemporaryFile(suffix='.mtz') as file:
    file.write(data)
    file.flush()
    try:
      return gemmi.read_mtz_file(file.name)
    except RuntimeError as error:  # with the name of the copy
      raise ValueError(str(error).replace(f': {file.name}', '')) from error


def _mtz_of_mmcif(data: bytes):
  """Converts the first block of reflections that has phases, or the first."""
  import gemmi

  document = gemmi.cif.read_string(data.decode('utf-8', 'replace'))
  blocks = [block for block in gemmi.as_refln_blocks(document) if block]
  if not blocks:
    raise ValueError('it has no reflections (_refln): a model, not a map?')
  with_phases = [
    block for block in blocks
    if any('ph' in label.lower() for label in block.column_labels())
  ]  # fmt: skip
  block = (with_phases or blocks)[0]
  try:
    return gemmi.CifToMtz().convert_block_to_mtz(block)
  except RuntimeError as error:
    raise ValueError(
      'no map coefficients (_refln.pdbx_FWT, _refln.pdbx_PHWT), it has '
      f'{", ".join(block.column_labels())} ({error})'
    ) from error


def _find_columns(types, kind, columns):
  pairs = COLUMNS[kind] if columns is None else (tuple(columns),)
  for pair in pairs:
    if len(pair) == 2 and [types.get(label) for label in pair] == ['F', 'P']:
      return pair
  phases = [label for label, t in types.items() if t == 'P']
  raise ValueError(
    f'no {kind if columns is None else "such"} map coefficients: needs '
    + ' or '.join('/'.join(pair) for pair in pairs)
    + ' as amplitudes and phases; '
    + (f'it has the phases {", ".join(phases)}: name the columns '
       '(config.data.map_columns)' if phases else
       'the file has amplitudes or intensities without any phases')
  )  # fmt: skip


def read_ccp4(path, periodic: bool | None, cell=None):
  """Reads the map of a CCP4 or MRC file and completes it by its symmetry.

  Args:
    path: of the file, plain or gzipped (its first bytes tell).
    periodic: whether it is of a crystal; None decides by header and cell.
    cell: gemmi.UnitCell of the model's crystal, or None.

  Returns:
    gemmi.FloatGrid of the unit cell (or of the box), NaN where there are no
    data; [3] Å, where its first point lies; whether it is periodic, None where
    nothing says it and the grid is that of the box.

  Raises:
    OSError: no such file.
    ValueError: the file is damaged, contradicts itself, or is of another
      crystal than the model.
  """
  import gemmi

  with _naming(path), ccp4_header.readable(path) as (readable, header):
    ccp4 = gemmi.read_ccp4_map(str(readable), setup=False)
    if np.isinf(ccp4.grid.array).any():
      raise ValueError('the map has infinite values')
    if periodic is None:
      periodic = header.is_periodic(cell)
    if not periodic:
      header.check_box()
      ccp4.setup(np.nan, gemmi.MapSetup.ReorderOnly)
      # A box of a part of the cell: the cell of the box alone.
      steps_3 = np.array(header.cell[:3]) / header.m
      edges = steps_3 * header.n
      ccp4.grid.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
      return ccp4.grid, header.box_origin(), periodic
    if any(header.origin):
      raise ValueError(
        f'a crystal with the origin {header.origin} in words 50 to 52; write '
        'the map anew with its start in words 5 to 7'
      )
    header.check_cell(cell)
    ccp4.grid.spacegroup = group = _space_group(header, ccp4.grid.unit_cell)
    ccp4.setup(np.nan, gemmi.MapSetup.NoSymmetry)
    given = np.array(ccp4.grid.array)
    ccp4 = gemmi.read_ccp4_map(str(readable), setup=False)
    ccp4.grid.spacegroup = group
    ccp4.setup(np.nan, gemmi.MapSetup.Full)
    _check_symmetry(given, ccp4.grid.array, group)
  return ccp4.grid, np.zeros(3), True


def _space_group(header, cell):
  """Returns the header's space group, in the setting of its cell."""
  import gemmi

  number = header.space_group or 1
  group = gemmi.find_spacegroup_by_number(number)
  if group is None:
    raise ValueError(f'no space group has the number {number}')
  if not cell.is_compatible_with_spacegroup(group):
    # Rhombohedral or hexagonal axes: one number stands for both.
    group = gemmi.find_spacegroup_by_name(group.hm, cell.alpha, cell.gamma)
  if group is None or not cell.is_compatible_with_spacegroup(group):
    raise ValueError(f'the cell {cell.parameters} is not of group {number}')
  if header.operators is not None and header.operators != {
    op.triplet() for op in group.operations()
  }:
    raise ValueError(
      f'the operators in the header are not those of {group.xhm()}'
    )
  return group


def _check_symmetry(given, complete, group) -> None:
  """Raises ValueError where symmetry mates have different values."""
  difference = (given - complete)[np.isfinite(given)]
  difference = difference[difference != 0]
  if not difference.size:
    return
  sd = np.nanstd(complete)
  disagreement = np.sqrt(np.mean(np.square(difference, dtype=np.float64)))
  if disagreement > _MAX_DISAGREEMENT * sd:
    raise ValueError(
      f'points that are mates in {group.xhm()} differ by '
      f'{disagreement / sd:.1f} sd: the map has another symmetry'
    )


@contextlib.contextmanager
def _naming(path):
  """Turns errors of gemmi and Python about contents into ones with the path."""
  try:
    yield
  except (
    RuntimeError, ValueError, EOFError, MemoryError, zlib.error,
    gzip.BadGzipFile,
  ) as e:  # fmt: skip
    text = str(e).replace(f': {path}', '')  # gemmi's way
    raise ValueError(f'{path}: {text or type(e).__name__}') from e
