"""Density maps of crystals, and of other experiments, as cubes around a point.

Missing data are NaN in a `CrystalMap`. In a `Cube` they are 0 and counted.

Units. 'sigma': (value - mean)/sd, with mean and sd over all points of the unit
cell that have data, which are those of the asymmetric unit. 'e/A^3': value -
mean, the density less its mean in the cell, as F000 is not measured; for MTZ
files alone, and true if their amplitudes are on the absolute scale, as those
that refinement programs write are (CCP4 files do not say what their values
are).

Crystal or not. Crystals are repeated without end, the box of a single particle
ends. A symmetry other than P1 and oblique angles mean a crystal; space group 0
and an origin in words 50 to 52 a particle. A box in P1 with right angles may be
either: it is a crystal if the model's cell is its own (`read_map`) or atoms
outside of the box have density when it is repeated (`settled`). Otherwise
`periodic` is None; inside of the box both readings agree, and a cube that
reaches out of it is refused (`cut_cube`).
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from data_builders.density_maps import ccp4_header, ccp4_mtz

UNITS = ('sigma', 'e/A^3')
_CCP4 = ('.ccp4', '.map', '.mrc')
_COEFFICIENTS = ('.mtz', '.cif', '.mmcif', '.ent')
# An interpolation near the end of a box reads up to two values beyond it.
_MARGIN = 3
# Right maps have 2.4 sd and more at the atoms of their models, wrong ones 0.
_FEWEST_OUTSIDE, _DENSITY_OUTSIDE = 20, 1.0
# Values that are summed at once.
_PART = 2**20
# Å between points, smallest and largest that a map of molecules may have.
_SPACINGS = 0.01, 100.0


class CrystalMap(NamedTuple):
  """A map over a whole unit cell, or of the box of a single particle.

  Attributes:
    grid: gemmi.FloatGrid in `unit`; NaN where there are no data. A particle's
      has planes of NaN around it.
    origin: [3] Å, where the grid's first point lies; 0 for crystals.
    shape: points with data along x, y and z: those of the cell or of the box.
    periodic: whether the map is repeated without end; None: nothing says it.
    unit: of the values.
    mean: of the file's values, which becomes 0.
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
  periodic: bool | None
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
    origin: [3] Å, coordinates of the first value in the file's frame.
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
  cell=None,
) -> CrystalMap:
  """Reads a map from a file and completes it by its symmetry.

  A point has no data where a CCP4 file gives neither it nor a symmetry mate, or
  gives NaN. Points that a program set to 0 around a masked map are data: no
  file tells them apart.

  Args:
    path: .ccp4, .map or .mrc, .mtz, or structure factors in mmCIF (.cif,
      .mmcif, .ent), plain or .gz.
    kind: '2fofc' or 'fofc' (difference map): the columns of coefficients. A
      CCP4 file does not say what it holds.
    unit: 'sigma' or 'e/A^3', see above.
    columns: amplitudes and phases of coefficients with other names.
    periodic: whether a CCP4 file is of a crystal; None: see above.
    min_coverage: fraction of the asymmetric unit that must have data: a smaller
      part has another standard deviation than the whole, mostly a larger one.
    cell: gemmi.UnitCell of the model's crystal, which is the map's unless this
      is in P1; None: not known.

  Returns:
    The map.

  Raises:
    OSError: no such file.
    ValueError: a damaged file, or not a map (amplitudes without phases), an
      impossible header, symmetry that the values contradict, too few data, or
      an impossible argument; the message names the file.
  """
  path = pathlib.Path(path)
  if kind not in ccp4_mtz.COLUMNS:
    raise ValueError(
      f'kind must be one of {list(ccp4_mtz.COLUMNS)}, not {kind!r}'
    )
  if unit not in UNITS:
    raise ValueError(f'unit must be one of {list(UNITS)}, not {unit!r}')
  suffix = _suffix(path)
  if suffix in _COEFFICIENTS:
    if periodic is False:
      raise ValueError(f'{path}: coefficients are always of a crystal')
    grid, d_min = ccp4_mtz.read_mtz(path, kind, columns, cell)
    origin, periodic = np.zeros(3), True
  elif suffix in _CCP4:
    if columns is not None:
      raise ValueError(f'{path}: columns are for coefficients (.mtz)')
    if unit == 'e/A^3':
      raise ValueError(
        f"{path}: a CCP4 file does not say what its values are; use 'sigma', "
        'or map coefficients (.mtz)'
      )
    grid, origin, periodic = ccp4_mtz.read_ccp4(path, periodic, cell)
    d_min = np.nan
  else:
    raise ValueError(
      f'{path}: maps are read from {", ".join(_CCP4 + _COEFFICIENTS)} (and '
      f'.gz), not from {suffix or "a file without suffix"}'
    )
  return _standardised(
    path, grid, origin, periodic, unit, float(d_min), min_coverage
  )


def has_coefficients(path) -> bool:
  """Returns whether a file's suffix is one of coefficients."""
  return _suffix(path) in _COEFFICIENTS


def is_map(path) -> bool:
  """Returns whether a file's name is one of a map or its coefficients."""
  of_model = _suffix(path) in _COEFFICIENTS[1:] and 'sf' not in path.stem
  return _suffix(path) in _CCP4 + _COEFFICIENTS and not of_model


def _suffix(path) -> str:
  name = pathlib.Path(path).name.lower().removesuffix('.gz')
  return pathlib.Path(name).suffix


def is_of_microscope(structure) -> bool:
  """Returns whether a gemmi.Structure says that it is no crystal's."""
  method = dict(structure.info).get('_exptl.method', '')
  return 'ELECTRON MICROSCOPY' in method.upper()


def settled(crystal_map: CrystalMap, coords) -> CrystalMap:
  """Decides by a model whether a map is periodic, where nothing else says it.

  A crystal has density at atoms outside of the box when the box is repeated.

  Args:
    crystal_map: the map.
    coords: [A, 3] Å, atoms of its model in the file's frame.

  Returns:
    The map, repeated if _FEWEST_OUTSIDE atoms and more outside of its box have
    more than _DENSITY_OUTSIDE sd on average; else as it is.
  """
  if crystal_map.periodic is not None:
    return crystal_map
  offset_A3, outside_A = _offsets(crystal_map, coords)
  if outside_A.sum() < _FEWEST_OUTSIDE:
    return crystal_map
  repeated = _cut_grid(crystal_map)
  values_A = repeated.interpolate_position_array(offset_A3[outside_A], order=3)
  if not values_A.mean() > _DENSITY_OUTSIDE * _sigma(crystal_map):
    return crystal_map
  return crystal_map._replace(grid=repeated, periodic=True)


def mean_at(crystal_map: CrystalMap, coords) -> float:
  """Returns the mean at atoms [A, 3] Å in sd; NaN where none has data."""
  values_A = _values_at(crystal_map, coords)
  if not len(values_A):
    return float('nan')
  return float(values_A.mean()) / _sigma(crystal_map)


def missing_at(crystal_map: CrystalMap, points_G3) -> float:
  """Returns the share of points [G, 3] Å without data."""
  return 1 - len(_values_at(crystal_map, points_G3)) / len(points_G3)


def _values_at(crystal_map: CrystalMap, coords) -> np.ndarray:
  """Returns the map's values at those of the places that have data."""
  offset_A3, outside_A = _offsets(crystal_map, coords)
  if not crystal_map.periodic:
    offset_A3 = offset_A3[~outside_A]
  values_A = crystal_map.grid.interpolate_position_array(offset_A3, order=3)
  return values_A[np.isfinite(values_A)]


def _offsets(crystal_map, coords):
  """Returns places relative to the first point; which are out of the box."""
  offset_A3 = np.asarray(coords, np.float64) - crystal_map.origin
  grid = crystal_map.grid
  index_A3 = offset_A3 / (grid.unit_cell.parameters[:3] / np.array(grid.shape))
  last_3 = np.array(crystal_map.shape) - 1
  return offset_A3, ((index_A3 < 0) | (index_A3 > last_3)).any(1)


def _sigma(crystal_map: CrystalMap) -> float:
  return 1.0 if crystal_map.unit == 'sigma' else crystal_map.sd


def of_crystal(grid, unit: str, d_min: float, source: str) -> CrystalMap:
  """Wraps a computed map as if it had been read.

  Args:
    grid: gemmi.FloatGrid over a whole unit cell; its values are changed.
    unit: 'sigma' or 'e/A^3', as for `read_map`.
    d_min: resolution, Å.
    source: name of the map, for messages.

  Returns:
    The map.

  Raises:
    ValueError: the map is constant.
  """
  return _standardised(
    pathlib.Path(source), grid, np.zeros(3), True, unit, d_min, 1.0
  )


def cut_cube(
  crystal_map: CrystalMap, centre, edge: float, spacing: float
) -> Cube:
  """Interpolates the map around a point to an orthogonal grid.

  The interpolation is gemmi's, tricubic, with the formula of
  `edjax.kernels.interpolation`. It reads 64 values around a point; where one of
  them is missing, even with weight 0, the result is missing and becomes 0.

  The grid has one point more on each side than the edge needs, so that a
  tricubic interpolation of the cube itself stays inside. That second
  interpolation costs 0.02 to 0.13 sd (rms at the atoms of maps of about 1.8 Å)
  where the cube has the map's own spacing, and 0.02 at half of it.

  An edge of sqrt(3) times that of a box holds the box in every orientation;
  random shifts have to be added to it.

  Args:
    crystal_map: the map.
    centre: [3] Å, in the file's frame.
    edge: Å, of the region that the cube must hold.
    spacing: Å, at most the map's own: coarser points would alias.

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
  if size**3 > ccp4_header.MAX_POINTS:
    raise ValueError(f'a cube of {size}^3 points is too large')
  origin_3 = centre_3 - (size - 1) / 2 * spacing
  values = np.empty((size,) * 3, np.float32)
  transform = gemmi.Transform()
  transform.mat.fromlist((spacing * np.eye(3)).tolist())
  transform.vec.fromlist((origin_3 - crystal_map.origin).tolist())
  crystal_map.grid.interpolate_values(values, transform, order=3)
  if not crystal_map.periodic:
    outside = _mask_outside(values, crystal_map, origin_3, spacing)
    if outside and crystal_map.periodic is None:
      raise ValueError(
        f'{crystal_map.source}: {outside:.0%} of the cube are outside of a box '
        "in P1 with right angles, which may be a crystal's cell "
        '(periodic=True, config.data.map_periodic="yes") or end there (False, '
        '"no")'
      )
  lacks = np.isnan(values)
  if lacks.all():
    raise ValueError(
      f'{crystal_map.source}: no data within {edge:.1f} Å around '
      f'{np.round(centre_3, 3).tolist()}; are model and map in one frame?'
    )
  values[lacks] = 0
  return Cube(values, origin_3, spacing * np.eye(3), float(lacks.mean()))


def _standardised(path, grid, origin, periodic, unit, d_min, min_coverage):
  """Converts a grid to `unit` by mean and deviation of its data."""
  spacing = min(grid.spacing)
  if not _SPACINGS[0] <= spacing <= _SPACINGS[1]:
    raise ValueError(
      f'{path}: points every {spacing:.3g} Å are not those of a map; is the '
      'cell in Å?'
    )
  count = sum(len(part) for part in _finite_parts(grid.array))
  if not count:
    raise ValueError(f'{path}: the map has no values')
  coverage = count / grid.array.size
  if coverage < min_coverage:
    raise ValueError(
      f'{path}: {coverage:.0%} of the asymmetric unit have data, the standard '
      f'deviation of the whole needs more than {min_coverage:.0%}; give a '
      'lower min_coverage (config.data.min_map_coverage) to do with the part'
    )
  mean = sum(part.sum() for part in _finite_parts(grid.array)) / count
  squares = (np.square(part - mean) for part in _finite_parts(grid.array))
  sd = float(sum(part.sum() for part in squares) / count) ** 0.5
  largest = max(np.abs(part).max() for part in _finite_parts(grid.array))
  if not sd > 1e-6 * largest:
    raise ValueError(f'{path}: the map is constant')
  grid.array[...] -= float(mean)
  grid.array[...] /= sd if unit == 'sigma' else 1.0
  return CrystalMap(
    grid=grid if periodic else _padded(grid),
    origin=origin,
    shape=grid.shape,
    periodic=periodic,
    unit=unit,
    mean=float(mean),
    sd=sd,
    coverage=coverage,
    spacing=spacing,
    d_min=d_min,
    source=path.name,
  )


def _finite_parts(values):
  """Yields values that are not missing as float64, a million at a time.

  Copies of a whole map of 500^3 points take gigabytes and most of the time.
  """
  flat = values.reshape(-1, order='A')
  for start in range(0, flat.size, _PART):
    part = flat[start : start + _PART].astype(np.float64)
    part = part[np.isfinite(part)]
    if part.size:
      yield part


def _padded(grid):
  """Adds planes of NaN after a box, where gemmi would repeat it."""
  import gemmi

  shape = np.array(grid.shape)
  edges = np.array(grid.unit_cell.parameters[:3]) * (shape + _MARGIN) / shape
  padded = gemmi.FloatGrid(*(shape + _MARGIN).tolist())
  padded.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
  padded.spacegroup = gemmi.SpaceGroup('P 1')
  padded.fill(np.nan)
  padded.array[tuple(slice(n) for n in shape)] = grid.array
  return padded


def _cut_grid(crystal_map):
  """Returns the grid that `_padded` was given."""
  import gemmi

  padded, shape = crystal_map.grid, crystal_map.shape
  edges = np.array(padded.unit_cell.parameters[:3]) * shape / padded.shape
  grid = gemmi.FloatGrid(*shape)
  grid.set_unit_cell(gemmi.UnitCell(*edges, 90, 90, 90))
  grid.spacegroup = gemmi.SpaceGroup('P 1')
  grid.array[...] = padded.array[tuple(slice(n) for n in shape)]
  return grid


def _mask_outside(values, crystal_map, origin_3, spacing) -> float:
  """Sets a cube's points outside of a box to NaN; returns their share."""
  steps_3 = np.array(crystal_map.grid.unit_cell.parameters[:3])
  steps_3 /= crystal_map.grid.shape
  inside_share = 1.0
  for axis, points in enumerate(crystal_map.shape):
    x = origin_3[axis] + np.arange(len(values)) * spacing
    index = (x - crystal_map.origin[axis]) / steps_3[axis]
    outside = (index < 0) | (index > points - 1)
    np.moveaxis(values, axis, 0)[outside] = np.nan
    inside_share *= 1 - outside.mean()
  return 1 - inside_share
