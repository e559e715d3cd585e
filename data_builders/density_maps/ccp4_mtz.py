"""Files of density maps, read by gemmi: whole unit cells, or a box.

CCP4/MRC (https://www.ccpem.ac.uk/mrc-format/mrc2014/) and map coefficients in
MTZ (https://www.ccp4.ac.uk/html/mtzformat.html). A bad file raises a ValueError
that names it.
"""

import contextlib
import gzip
import zlib

import numpy as np

from edjax.runtime import reading

# Amplitudes and phases, in the order in which they are tried: Refmac and
# Servalcat, BUSTER and phenix.refine, and those of phenix.refine with missing
# reflections left out or filled in.
COLUMNS = {
  '2fofc': (
    ('FWT', 'PHWT'),
    ('2FOFCWT', 'PH2FOFCWT'),
    ('2FOFCWT_no_fill', 'PH2FOFCWT_no_fill'),
    ('2FOFCWT_fill', 'PH2FOFCWT_fill'),
  ),
  'fofc': (('DELFWT', 'PHDELWT'), ('FOFCWT', 'PHFOFCWT')),
}
# Points to the shortest wavelength in maps that are computed here. With 4,
# tricubic interpolation errs by 0.04 sd at the atoms of a 1.85 Å map; with
# the customary 3, by 0.12 sd.
SAMPLE_RATE = 4.0
# Bytes of a value in the modes that gemmi reads.
_MODES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}
_HEADER_BYTES = 1024
# gemmi counts points in 32 bits; 2 GiB of float32 are 800^3.
MAX_POINTS = 2**29
# Computing a map needs memory for three times its points: 512^3 are 1.5 GiB.
_MAX_COMPUTED = 2**27
_MAX_EXTENDED_HEADER = 2**26
# In standard deviations. Mates of the same point differ by the rounding of 8
# bits, 0.08 sd; under a wrong symmetry by 1.4 sd.
_MAX_DISAGREEMENT = 0.5


def read_mtz(path, kind: str, columns: tuple[str, str] | None):
  """Computes the map from the coefficients of an MTZ file.

  Args:
    path: of the file, plain or .gz.
    kind: of COLUMNS.
    columns: amplitudes and phases with other names, or None.

  Returns:
    gemmi.FloatGrid of the unit cell, and the resolution in Å.

  Raises:
    OSError: no such file.
    ValueError: the file is damaged or has no such columns.
  """
  import gemmi

  with _naming(path):
    # gemmi accepts a file without its end and leaves out what stood there.
    if b'MTZENDOFHEADERS' not in reading.unpacked(path):
      raise ValueError('the end of the file is missing, or it is not MTZ')
    mtz = gemmi.read_mtz_file(str(path))
    types = {c.label: c.type for c in mtz.columns}
    amplitude, phase = _find_columns(types, kind, columns)
    if mtz.spacegroup is None:
      raise ValueError('the file has no known space group')
    if not mtz.cell.is_crystal():
      raise ValueError(f'the file has no unit cell ({mtz.cell})')
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
    + (f'it has the phases {", ".join(phases)}' if phases else
       'the file has amplitudes or intensities without any phases')
  )  # fmt: skip


def read_ccp4(path, periodic: bool | None):
  """Reads the map of a CCP4 or MRC file and completes it by its symmetry.

  Args:
    path: of the file, plain or .gz.
    periodic: whether it is of a crystal; None decides by the header.

  Returns:
    gemmi.FloatGrid of the unit cell (or of the box), NaN where there are no
    data; [3] Å, where its first point lies; whether it is periodic.

  Raises:
    OSError: no such file.
    ValueError: the file is damaged, or contradicts itself.
  """
  import gemmi

  with _naming(path):
    _check_ccp4(path)
    ccp4 = gemmi.read_ccp4_map(str(path), setup=False)
    header = _Header(ccp4)
    if np.isinf(ccp4.grid.array).any():
      raise ValueError('the map has infinite values')
    if periodic is None:
      right = all(abs(angle - 90) < 1e-3 for angle in header.cell[3:])
      whole = header.n == header.m
      periodic = not (header.space_group in (0, 1) and whole and right)
    if not periodic:
      if header.space_group not in (0, 1):
        raise ValueError(
          f'space group {header.space_group}, but periodic is False'
        )
      if any(abs(angle - 90) > 1e-3 for angle in header.cell[3:]):
        raise ValueError('a box that is no crystal needs right angles')
      ccp4.setup(np.nan, gemmi.MapSetup.ReorderOnly)
      # A box of a part of the cell: the cell of the box alone.
      steps_3 = np.array(header.cell[:3]) / header.m
      edges = steps_3 * header.n
      ccp4.grid.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
      return ccp4.grid, header.box_origin(), False
    if any(header.origin):
      raise ValueError(
        f'a crystal with the origin {header.origin} in words 50 to 52; write '
        'the map anew with its start in words 5 to 7'
      )
    ccp4.grid.spacegroup = group = _space_group(header, ccp4.grid.unit_cell)
    ccp4.setup(np.nan, gemmi.MapSetup.NoSymmetry)
    given = np.array(ccp4.grid.array)
    ccp4 = gemmi.read_ccp4_map(str(path), setup=False)
    ccp4.grid.spacegroup = group
    ccp4.setup(np.nan, gemmi.MapSetup.Full)
    _check_symmetry(given, ccp4.grid.array, group)
  return ccp4.grid, np.zeros(3), True


class _Header:
  """Fields of a CCP4 header, by axis of the cell (not of the file)."""

  def __init__(self, ccp4):
    axes = [ccp4.header_i32(word) - 1 for word in (17, 18, 19)]
    order = [axes.index(axis) for axis in range(3)]
    self.n = [ccp4.header_i32(1 + i) for i in order]
    self.start = [ccp4.header_i32(5 + i) for i in order]
    self.m = [ccp4.header_i32(word) for word in (8, 9, 10)]
    self.cell = [ccp4.header_float(word) for word in range(11, 17)]
    self.space_group = ccp4.header_i32(23)
    self.origin = [ccp4.header_float(word) for word in (50, 51, 52)]
    self.operators = _operators(ccp4)

  def box_origin(self) -> np.ndarray:
    """Returns where the first value lies, from one of two header fields."""
    start_3 = np.array(self.start) * np.array(self.cell[:3]) / self.m
    origin_3 = np.array(self.origin)
    if not origin_3.any():
      return start_3
    if start_3.any() and not np.allclose(start_3, origin_3, atol=1e-2):
      raise ValueError(
        f'the header has two origins, {start_3.tolist()} Å in words 5 to 7 '
        f'and {origin_3.tolist()} Å in words 50 to 52'
      )
    return origin_3


def _check_ccp4(path) -> None:
  """Checks header and length of a CCP4 file before gemmi reads it.

  gemmi would allocate whatever memory a damaged header asks for.
  """
  import gemmi

  with _opened(path) as file:
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
      raise ValueError(f'{len(header)} bytes are not even a CCP4 header')
    if header[208:212] != b'MAP ':
      raise ValueError('this is not a CCP4 or MRC map (no MAP in word 53)')
    stamp = header[212]
    if stamp not in (0x44, 0x11):
      raise ValueError(f'unknown machine stamp {header[212:216].hex()}')
    words = np.frombuffer(header, '<i4' if stamp == 0x44 else '>i4')
    floats = words.view(words.dtype.str.replace('i', 'f'))
    n, mode, m, axes = words[:3], int(words[3]), words[7:10], words[16:19]
    if mode not in _MODES:
      raise ValueError(f'mode {mode} is none of {list(_MODES)}')
    if stamp == 0x11 and mode != 2:
      # gemmi 0.7.5 reads wrong numbers.
      raise ValueError(f'big-endian files are read in mode 2, not {mode}')
    for name, size in (('size', n), ('sampling', m)):
      points = np.prod(size, dtype=float)
      if (size < 1).any() or points > MAX_POINTS:
        raise ValueError(f'an impossible {name}, {size.tolist()}')
    if sorted(axes.tolist()) != [1, 2, 3]:
      raise ValueError(f'axes {axes.tolist()} are not 1, 2, 3 in some order')
    cell = floats[10:16].astype(float)
    if not (
      np.isfinite(cell).all()
      and (cell > 0).all()
      and (cell[3:] < 180).all()
      # Angles that cannot meet in a corner have no volume.
      and gemmi.UnitCell(*cell).volume > 1e-3 * np.prod(cell[:3])
    ):
      raise ValueError(f'an impossible cell, {cell.tolist()}')
    if not np.isfinite(floats[49:52]).all():
      raise ValueError('an origin that is not finite in words 50 to 52')
    if words[24] == 1:
      raise ValueError('a skew transformation (word 25) is not understood')
    extended = int(words[23])
    if not 0 <= extended <= _MAX_EXTENDED_HEADER or extended % 4:
      raise ValueError(f'an impossible extended header of {extended} bytes')
    expected = extended + int(np.prod(n, dtype=np.int64)) * _MODES[mode]
    file.seek(_HEADER_BYTES + expected - 1)
    last = file.read(2)
    if len(last) != 1:
      more = 'more' if last else 'fewer'
      raise ValueError(
        f'the header is followed by {more} than the {expected} bytes that it '
        'announces: the file is damaged or truncated'
      )


def _operators(ccp4):
  """Returns the set of operators that a header lists; None without a list."""
  import gemmi

  count, rest = divmod(ccp4.header_i32(24), 80)
  if not count or rest:
    return None
  lines = [ccp4.header_str(257 + 20 * i, 80) for i in range(count)]
  try:
    return {gemmi.Op(line.strip()).wrap().triplet() for line in lines}
  except (RuntimeError, ValueError):  # other programs keep other things there
    return None


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


def _opened(path):
  return gzip.open(path) if path.suffix.lower() == '.gz' else path.open('rb')
