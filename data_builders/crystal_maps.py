"""Density maps of crystals, and of other experiments, as cubes around a point.

CCP4/MRC files (https://www.ccpem.ac.uk/mrc-format/mrc2014/) and map
coefficients in MTZ files (https://www.ccp4.ac.uk/html/mtzformat.html), both
read by gemmi. What a file does not hold is NaN in a `CrystalMap`, and 0 in a
`Cube`, which counts it.

Units. 'sigma': (value - mean)/sd, where mean and sd are those of all points of
the unit cell that have data; each asymmetric unit counts the same, so that
they are those of the asymmetric unit. 'e/A^3': value - mean, the density less
its mean in the cell, as F000 is not measured; for MTZ files alone, and true if
their amplitudes are on the absolute scale, as those that refinement programs
write are (CCP4 files do not say what their values are).

Crystal or not. A file with space group 0 or 1 whose box is the whole cell,
with three right angles, is taken for a single particle: it ends where its box
ends. All others are crystals and are repeated without end. A crystal in P1
that looks like a particle loses its surroundings (they count as missing), but
gets no wrong density; `periodic` decides where this guess is wrong.
"""

import contextlib
import gzip
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np

UNITS = ('sigma', 'e/A^3')
# Amplitudes and phases, in the order in which they are looked for: Refmac
# and Servalcat, BUSTER and phenix.refine, and those of phenix.refine with
# missing reflections left out or filled in.
COLUMNS = {
  '2fofc': (
    ('FWT', 'PHWT'),
    ('2FOFCWT', 'PH2FOFCWT'),
    ('2FOFCWT_no_fill', 'PH2FOFCWT_no_fill'),
    ('2FOFCWT_fill', 'PH2FOFCWT_fill'),
  ),
  'fofc': (('DELFWT', 'PHDELWT'), ('FOFCWT', 'PHFOFCWT')),
}
_CCP4 = ('.ccp4', '.map', '.mrc')
# Points to the shortest wavelength in maps that are computed here. With 4,
# tricubic interpolation errs by 0.04 sd at the atoms of a 1.85 Å map; with
# the customary 3, by 0.12 sd.
_SAMPLE_RATE = 4.0
# Bytes of a value in the modes that gemmi reads.
_MODES = {0: 1, 1: 2, 2: 4, 6: 2, 12: 2}
_HEADER_BYTES = 1024
# gemmi counts points in 32 bits; 2 GiB of float32 are 800^3.
_MAX_POINTS = 2**29
_MAX_EXTENDED_HEADER = 2**26
# Mates of the same point differ by the rounding of 8 bits, 0.08 sd; under a
# wrong symmetry by 1.4 sd.
_MAX_DISAGREEMENT = 0.5
# An interpolation near the end of a box reads up to two values beyond it.
_MARGIN = 3


class CrystalMap(NamedTuple):
  """A map over a whole unit cell, or of the box of a single particle.

  Attributes:
    grid: gemmi.FloatGrid in `unit`; NaN where there are no data. A particle's
      has planes of NaN around it.
    origin: [3] Å, where the grid's first point lies; 0 for crystals.
    shape: points with data along x, y and z: those of the cell or of the box.
    periodic: whether the map is repeated without end.
    unit: of the values.
    mean: of the file's values; what 0 stands for.
    sd: standard deviation of the file's values.
    coverage: fraction of the unit cell, and so of the asymmetric unit, with
      data.
    spacing: smallest distance of the lattice planes of points, Å.
    d_min: resolution of the coefficients, Å; NaN for a CCP4 file.
    source: name of the file.
  """

  grid: Any
  origin: np.ndarray
  shape: tuple[int, int, int]
  periodic: bool
  unit: str
  mean: float
  sd: float
  coverage: float
  spacing: float
  d_min: float
  source: str


class Cube(NamedTuple):
  """A part of a map on an orthogonal grid, as `DensityMap(*cube[:3])` wants.

  Attributes:
    values: [X, Y, Z] float32, the map's unit; 0, its mean, where data are
      missing.
    origin: [3] Å, position of the first value in the file's frame.
    steps: [3, 3] Å, spacing times the unit matrix.
    missing: fraction of the values for which data are missing.
  """

  values: np.ndarray
  origin: np.ndarray
  steps: np.ndarray
  missing: float


def read_map(
  path,
  kind: str = '2fofc',
  *,
  unit: str = 'sigma',
  columns: tuple[str, str] | None = None,
  periodic: bool | None = None,
  min_coverage: float = 0.9,
) -> CrystalMap:
  """A map from a CCP4/MRC or MTZ file, completed by its symmetry.

  Points of which a CCP4 file gives no symmetry mate have no data, nor have
  those that it gives as NaN. Points that a program has set to 0 around a
  masked map are data: no file tells them apart.

  Args:
    path: .ccp4, .map, .mrc or .mtz, plain or .gz.
    kind: '2fofc' or 'fofc' (difference map): the columns of an MTZ file. A
      CCP4 file does not say what it holds.
    unit: 'sigma' or 'e/A^3', see above.
    columns: amplitudes and phases of an MTZ file with other names.
    periodic: whether a CCP4 file is of a crystal; None: see above.
    min_coverage: fraction of the asymmetric unit that has to have data; of a
      lesser part, the standard deviation is not that of the whole, but mostly
      larger.

  Returns:
    The map.

  Raises:
    OSError: no such file.
    ValueError: a damaged file, or not a map (amplitudes without phases), an
      impossible header, symmetry that the values contradict, too few data, or
      an impossible argument; the message names the file.
  """
  path = pathlib.Path(path)
  if kind not in COLUMNS:
    raise ValueError(f'kind must be one of {list(COLUMNS)}, not {kind!r}')
  if unit not in UNITS:
    raise ValueError(f'unit must be one of {list(UNITS)}, not {unit!r}')
  suffix = pathlib.Path(path.name.lower().removesuffix('.gz')).suffix
  if suffix == '.mtz':
    if periodic is False:
      raise ValueError(f'{path}: an MTZ file is always of a crystal')
    grid, d_min = _read_mtz(path, kind, columns)
    origin, periodic = np.zeros(3), True
  elif suffix in _CCP4:
    if columns is not None:
      raise ValueError(f'{path}: columns are for MTZ files')
    if unit == 'e/A^3':
      raise ValueError(
        f"{path}: a CCP4 file does not say what its values are; use 'sigma', "
        'or map coefficients (.mtz)'
      )
    grid, origin, periodic = _read_ccp4(path, periodic)
    d_min = np.nan
  else:
    raise ValueError(
      f'{path}: maps are read from {", ".join((*_CCP4, ".mtz"))} (and .gz), '
      f'not from {suffix or "a file without suffix"}'
    )
  mean, sd, coverage = _statistics(path, grid, min_coverage)
  grid.array[...] = (grid.array - mean) / (sd if unit == 'sigma' else 1)
  shape = grid.shape
  spacing = min(grid.spacing)
  if not periodic:
    grid = _padded(grid)
  return CrystalMap(
    grid, origin, shape, periodic, unit, mean, sd, coverage, spacing, d_min,
    path.name,
  )  # fmt: skip


def cut_cube(
  crystal_map: CrystalMap, centre, edge: float, spacing: float
) -> Cube:
  """The map around a point, interpolated to an orthogonal grid.

  By gemmi's tricubic interpolation, of which `edjax.maps` has the formula too.
  It reads 64 values around a point; where one of them is missing, even with
  the weight 0, the result is. What is missing becomes 0.

  The grid has one point more on each side than the edge asks for, so that a
  tricubic interpolation of the cube itself needs no values beyond. That second
  interpolation costs 0.02 to 0.13 sd (rms at the atoms of maps of about 1.8 Å)
  where the cube has the map's own spacing, and 0.02 at half of it.

  An edge of sqrt(3) times that of a box holds the box in every orientation;
  random shifts have to be added to it.

  Args:
    crystal_map: the map.
    centre: [3] Å, in the file's frame.
    edge: Å, of what the cube has to hold.
    spacing: Å, at most the map's own: coarser points would mix what they skip
      into what they keep (aliasing).

  Returns:
    The cube, with n = ceil(edge/spacing) + 3 points along each axis, the
    middle of which is the centre.

  Raises:
    ValueError: the spacing is coarser than the map's, the cube has no data at
      all, or an argument is impossible.
  """
  import gemmi

  centre_3 = np.asarray(centre, np.float64)
  if centre_3.shape != (3,) or not np.isfinite(centre_3).all():
    raise ValueError(f'centre must be three finite coordinates, not {centre}')
  for name, value in (('edge', edge), ('spacing', spacing)):
    if not (np.isfinite(value) and value > 0):
      raise ValueError(f'{name} must be > 0 Å, not {value}')
  if spacing > crystal_map.spacing * (1 + 1e-6):
    raise ValueError(
      f'{crystal_map.source}: a cube with points every {spacing:.3f} Å would '
      f'alias a map with points every {crystal_map.spacing:.3f} Å; ask for '
      'that or less'
    )
  # The ratio may have been rounded up to just above a whole number.
  size = int(np.ceil(edge / spacing - 1e-6)) + 3
  if size**3 > _MAX_POINTS:
    raise ValueError(f'a cube of {size}^3 points is too large')
  origin_3 = centre_3 - (size - 1) / 2 * spacing
  values = np.empty((size,) * 3, np.float32)
  transform = gemmi.Transform()
  transform.mat.fromlist((spacing * np.eye(3)).tolist())
  transform.vec.fromlist((origin_3 - crystal_map.origin).tolist())
  crystal_map.grid.interpolate_values(values, transform, order=3)
  if not crystal_map.periodic:
    _mask_outside(values, crystal_map, origin_3, spacing)
  lacks = np.isnan(values)
  if lacks.all():
    raise ValueError(
      f'{crystal_map.source}: no data within {edge:.1f} Å around '
      f'{np.round(centre_3, 3).tolist()}; are model and map in one frame?'
    )
  values[lacks] = 0
  return Cube(values, origin_3, spacing * np.eye(3), float(lacks.mean()))


@contextlib.contextmanager
def _naming(path):
  """gemmi's and Python's complaints about contents, with the file's name."""
  try:
    yield
  except (
    RuntimeError, ValueError, EOFError, MemoryError, zlib.error,
    gzip.BadGzipFile,
  ) as e:  # fmt: skip
    text = str(e).replace(f': {path}', '')  # gemmi's way
    raise ValueError(f'{path}: {text or type(e).__name__}') from e


def _read_mtz(path, kind, columns):
  """A map of the unit cell, and the resolution."""
  import gemmi

  with _naming(path):
    # gemmi reads on when the end is missing, without what stood there.
    if b'MTZENDOFHEADERS' not in _contents(path):
      raise ValueError('the end of the file is missing, or it is not MTZ')
    mtz = gemmi.read_mtz_file(str(path))
    types = {c.label: c.type for c in mtz.columns}
    amplitude, phase = _find_columns(types, kind, columns)
    if mtz.spacegroup is None:
      raise ValueError('the file has no known space group')
    if not mtz.cell.is_crystal():
      raise ValueError(f'the file has no unit cell ({mtz.cell})')
    size = np.prod(mtz.get_size_for_hkl(sample_rate=_SAMPLE_RATE), dtype=float)
    if size > _MAX_POINTS:
      raise ValueError(f'a map of {size:.1e} points is too large')
    has_F = np.isfinite(mtz.column_with_label(amplitude).array)
    has_F &= np.isfinite(mtz.column_with_label(phase).array)
    if not has_F.any():
      raise ValueError(f'all of {amplitude} or {phase} is missing')
    d_min = 1 / np.sqrt(mtz.make_1_d2_array()[has_F].max())
    grid = mtz.transform_f_phi_to_map(
      amplitude, phase, sample_rate=_SAMPLE_RATE
    )
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


def _read_ccp4(path, periodic):
  """A map of the cell or box, its origin, and whether it is periodic."""
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
    """Where the first value lies, from either of two places in the header."""
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
  """Whether gemmi can be let at a CCP4 file: header, and length of the file.

  gemmi would ask for any memory that a damaged header wants.
  """
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
      if (size < 1).any() or points > _MAX_POINTS:
        raise ValueError(f'an impossible {name}, {size.tolist()}')
    if sorted(axes.tolist()) != [1, 2, 3]:
      raise ValueError(f'axes {axes.tolist()} are not 1, 2, 3 in some order')
    cell = floats[10:16]
    if not (
      np.isfinite(cell).all()
      and (cell > 0).all()
      and (cell[3:] < 180).all()
      and _is_possible(np.radians(cell[3:].astype(float)))
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
    found = _count(file, expected + 1)
    if found != expected:
      more = 'fewer' if found < expected else 'more'
      raise ValueError(
        f'the header is followed by {more} than the {expected} bytes that it '
        'announces: the file is damaged or truncated'
      )


def _is_possible(angles_3) -> bool:
  """Whether three angles, in radians, can meet in the corner of a cell."""
  cosines = np.cos(angles_3)
  square = 1 + 2 * np.prod(cosines) - np.sum(cosines**2)
  return square > 1e-6


def _operators(ccp4):
  """Symmetry operators that a header lists, as a set; None without a list."""
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
  """The header's space group, in the setting of its cell."""
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
  """Whether values given twice, as symmetry mates, agree."""
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


def _statistics(path, grid, min_coverage):
  """Mean and standard deviation over the cell, and what of it has data."""
  values = grid.array[np.isfinite(grid.array)].astype(np.float64)
  coverage = values.size / grid.array.size
  if not values.size:
    raise ValueError(f'{path}: the map has no values')
  if coverage < min_coverage:
    raise ValueError(
      f'{path}: {coverage:.0%} of the asymmetric unit have data, the standard '
      f'deviation of the whole needs more than {min_coverage:.0%}; give a '
      'lower min_coverage to do with the part'
    )
  mean, sd = float(values.mean()), float(values.std())
  if not sd > 1e-6 * np.abs(values).max():
    raise ValueError(f'{path}: the map is constant')
  return mean, sd, coverage


def _padded(grid):
  """A box with planes of NaN after it, where gemmi would repeat it."""
  import gemmi

  shape = np.array(grid.shape)
  edges = np.array(grid.unit_cell.parameters[:3]) * (shape + _MARGIN) / shape
  padded = gemmi.FloatGrid(*(shape + _MARGIN).tolist())
  padded.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
  padded.spacegroup = gemmi.SpaceGroup('P 1')
  padded.fill(np.nan)
  padded.array[tuple(slice(n) for n in shape)] = grid.array
  return padded


def _mask_outside(values, crystal_map, origin_3, spacing) -> None:
  """NaN for the points of a cube that lie outside of a particle's box."""
  steps_3 = np.array(crystal_map.grid.unit_cell.parameters[:3])
  steps_3 /= crystal_map.grid.shape
  for axis, points in enumerate(crystal_map.shape):
    x = origin_3[axis] + np.arange(len(values)) * spacing
    index = (x - crystal_map.origin[axis]) / steps_3[axis]
    outside = (index < 0) | (index > points - 1)
    np.moveaxis(values, axis, 0)[outside] = np.nan


def _opened(path):
  return gzip.open(path) if path.suffix.lower() == '.gz' else path.open('rb')


def _contents(path) -> bytes:
  with _opened(path) as file:
    return file.read()


def _count(file, most: int) -> int:
  """Bytes that are left in a file, up to a number."""
  count = 0
  while count < most:
    size = len(file.read(min(1 << 20, most - count)))
    if not size:
      break
    count += size
  return count
