import gzip
import struct

import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders.density_maps import ccp4_mtz, crystal_maps
from edjax import fields, geometry
from edjax.kernels import interpolation
from edjax.molecule import DensityMap, Molecule

# Operators written out (International Tables A), as rows and shifts.
OPERATORS = {
  1: [(np.eye(3), (0, 0, 0))],
  4: [(np.eye(3), (0, 0, 0)), (np.diag([-1, 1, -1]), (0, 0.5, 0))],
  78: [
    (np.eye(3), (0, 0, 0)),
    (np.diag([-1, -1, 1]), (0, 0, 0.5)),
    (np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]), (0, 0, 0.75)),
    (np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), (0, 0, 0.25)),
  ],
}
# Space group -> cell, sampling, and the box that is one asymmetric unit.
CRYSTALS = {
  1: ((9, 10, 11, 80, 95, 105), (20, 24, 28), (20, 24, 28)),
  4: ((9, 10, 11, 90, 108, 90), (20, 24, 28), (20, 12, 28)),
  78: ((9, 9, 12, 90, 90, 90), (20, 20, 32), (20, 20, 8)),
}
WAVES = [((1, 0, 0), 1.0, 0.3), ((1, 2, 1), 0.6, 1.1), ((0, 1, 2), 0.8, -0.7)]


def density(group, fractional):
  """Waves made symmetric by summing over the operators; mean 0."""
  x = np.asarray(fractional, np.float64)
  total = np.zeros(x.shape[:-1])
  for rotation, shift in OPERATORS[group]:
    mate = x @ np.asarray(rotation).T + shift
    for hkl, amplitude, phase in WAVES:
      total += amplitude * np.cos(2 * np.pi * (mate @ hkl) - phase)
  return total


def fractions(start, size, sampling):
  axes = [
    np.arange(s, s + n) / m
    for s, n, m in zip(start, size, sampling, strict=True)
  ]
  return np.stack(np.meshgrid(*axes, indexing='ij'), -1)


def to_fractional(cell, positions):
  """By the textbook's matrix: a along x, b in the x-y plane."""
  a, b, c = cell[:3]
  ca, cb, cg = np.cos(np.radians(cell[3:]))
  sg = np.sqrt(1 - cg**2)
  x = (ca - cb * cg) / sg
  columns = [
    [a, b * cg, c * cb],
    [0, b * sg, c * x],
    [0, 0, c * np.sqrt(1 - cb**2 - x**2)],
  ]
  return np.asarray(positions) @ np.linalg.inv(columns).T


def ccp4_bytes(
  values, cell, sampling, group=1, start=(0, 0, 0), axes=(1, 2, 3),
  origin=(0, 0, 0), mode=2, operators=(), endian='<', extra=b'', kind=None,
):  # fmt: skip
  """A CCP4 file, written from the format's description, not by gemmi."""
  order = [axis - 1 for axis in axes]
  header = bytearray(1024)
  sizes = [values.shape[i] for i in order]
  starts = [start[i] for i in order]
  struct.pack_into(
    f'{endian}10i6f3i', header, 0,
    *sizes, mode, *starts, *sampling, *cell, *axes,
  )  # fmt: skip
  limits = values.min(), values.max(), values.mean()
  struct.pack_into(f'{endian}3f', header, 76, *limits)
  extended = len(extra) + 80 * len(operators)
  struct.pack_into(f'{endian}2i', header, 88, group, extended)
  struct.pack_into(f'{endian}3f', header, 196, *origin)
  stamp = b'\x44\x41\0\0' if endian == '<' else b'\x11\x11\0\0'
  header[208:216] = b'MAP ' + stamp
  kinds = {0: 'i1', 1: 'i2', 2: 'f4', 6: 'u2', 12: 'f2'}
  kind = kind or kinds.get(mode, 'f4')
  # columns are the fastest
  data = np.asarray(values).transpose(order).astype(endian + kind)
  text = ''.join(operator.ljust(80) for operator in operators)
  return bytes(header) + text.encode() + extra + data.tobytes(order='F')


def crystal_bytes(group, start=(0, 0, 0), size=None, said=None, **changes):
  """A box of a crystal, whose file may say that it is of another group."""
  cell, sampling, box = CRYSTALS[group]
  where = fractions(start, box if size is None else size, sampling)
  return ccp4_bytes(
    density(group, where), cell, sampling, said or group, start, **changes
  )


def read(tmp_path, contents, name='a.ccp4', **options):
  path = tmp_path / name
  path.write_bytes(contents)
  return crystal_maps.read_map(path, **options)


@pytest.mark.parametrize('group', CRYSTALS)
def test_symmetry_completes_the_cell(tmp_path, group):
  # an asymmetric unit that begins anywhere
  start = (-3, 5, 40)
  got = read(tmp_path, crystal_bytes(group, start))
  cell, sampling, _ = CRYSTALS[group]
  want = density(group, fractions((0, 0, 0), sampling, sampling))
  sd = want.std()
  assert got.coverage == 1
  assert got.periodic
  assert got.sd == pytest.approx(sd, rel=1e-6)
  assert got.mean == pytest.approx(0, abs=1e-6)
  np.testing.assert_allclose(got.grid.array, want / sd, atol=1e-5)
  # control: the asymmetric unit alone leaves most of the cell empty
  if group > 1:
    alone = crystal_bytes(group, start, said=1)
    part = read(tmp_path, alone, min_coverage=0, periodic=True)
    assert part.coverage == pytest.approx(1 / len(OPERATORS[group]))
  heights = 1 / np.linalg.norm(to_fractional(cell, np.eye(3)), axis=0)
  assert got.spacing == pytest.approx(min(heights / sampling), rel=1e-6)


@pytest.mark.parametrize('group', CRYSTALS)
def test_cube_against_the_closed_form(tmp_path, group):
  crystal_map = read(tmp_path, crystal_bytes(group, (2, 1, -4)))
  centre = np.array([17.3, -21.1, 4.4])  # far outside of the box
  cube = crystal_maps.cut_cube(crystal_map, centre, 5.0, 0.3)
  assert cube.missing == 0
  assert cube.values.dtype == np.float32
  n = len(cube.values)
  assert (n - 3) * 0.3 >= 5.0 > (n - 4) * 0.3
  index = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing='ij'), -1)
  points = cube.origin + index @ cube.steps
  np.testing.assert_allclose(points.mean((0, 1, 2)), centre, atol=1e-12)
  cell = CRYSTALS[group][0]
  want = density(group, to_fractional(cell, points)) / crystal_map.sd
  # third order, with 12 points a wave and more
  np.testing.assert_allclose(cube.values, want, atol=0.03)
  # controls: axes in another order, or half a step away
  swapped = cube.values.transpose(2, 1, 0)
  assert np.abs(swapped - want).max() > 0.5
  moved = density(group, to_fractional(cell, points + 0.15)) / crystal_map.sd
  assert np.abs(cube.values - moved).max() > 0.1
  # on the device: the same formula once more
  density_map = DensityMap(*(jnp.asarray(x, jnp.float32) for x in cube[:3]))
  rng = np.random.default_rng(0)
  inside = centre + rng.uniform(-2.5, 2.5, (200, 3))
  got = interpolation.sample(density_map, jnp.asarray(inside, jnp.float32))
  want = density(group, to_fractional(cell, inside)) / crystal_map.sd
  np.testing.assert_allclose(got, want, atol=0.05)


@pytest.mark.parametrize('axes', [(2, 1, 3), (3, 1, 2), (1, 3, 2)])
def test_order_of_axes(tmp_path, axes):
  want = read(tmp_path, crystal_bytes(4, (-3, 5, 40)))
  got = read(tmp_path, crystal_bytes(4, (-3, 5, 40), axes=axes))
  np.testing.assert_array_equal(got.grid.array, want.grid.array)


@pytest.mark.parametrize('name', ['a.map', 'a.MRC', 'a.ccp4.gz', 'a.map.gz'])
def test_names_and_compression(tmp_path, name):
  """The first bytes tell a gzipped file, whatever its name says."""
  contents = crystal_bytes(4)
  want = read(tmp_path, contents)
  for packed in (contents, gzip.compress(contents)):
    got = read(tmp_path, packed, name)
    np.testing.assert_array_equal(got.grid.array, want.grid.array)
    assert got.source == name


@pytest.mark.parametrize('endian', '<>')
@pytest.mark.parametrize('mode', [0, 1, 2, 6, 12])
def test_modes(tmp_path, mode, endian):
  cell, sampling, box = CRYSTALS[4]
  values = np.round(10 * density(4, fractions((0, 0, 0), box, sampling)))
  values += 60  # mode 6 has no sign
  want = read(tmp_path, ccp4_bytes(values, cell, sampling, 4))
  contents = ccp4_bytes(values, cell, sampling, 4, mode=mode, endian=endian)
  got = read(tmp_path, contents)
  np.testing.assert_allclose(got.grid.array, want.grid.array, atol=1e-6)


def bytes_of_mode_0(kind):
  """Bytes with a sign, or without, of which some are above 127."""
  cell, sampling, box = CRYSTALS[4]
  values = np.round(20 * density(4, fractions((0, 0, 0), box, sampling)))
  values += 128 if kind == 'u1' else 0
  return values, ccp4_bytes(values, cell, sampling, 4, mode=0, kind=kind)


@pytest.mark.parametrize('kind', ['u1', 'i1'])
def test_bytes_with_and_without_a_sign(tmp_path, kind):
  values, contents = bytes_of_mode_0(kind)
  want = read(tmp_path, ccp4_bytes(values, *CRYSTALS[4][:2], 4))
  np.testing.assert_allclose(
    read(tmp_path, contents).grid.array, want.grid.array, atol=1e-6
  )
  # Without limits in the header, IMOD's flag says it, or nothing does.
  unknown = _with(_with(contents, 76, 0), 80, 0)
  with pytest.raises(
    ValueError, match=r'a\.ccp4: bytes with or without a sign'
  ):
    read(tmp_path, unknown)
  flag = _with(_with(unknown, 152, 1146047817), 156, int(kind == 'i1'))
  np.testing.assert_allclose(
    read(tmp_path, flag).grid.array, want.grid.array, atol=1e-6
  )


@pytest.mark.parametrize('length', [1, 3, 81, 131])
def test_extended_headers_of_any_length(tmp_path, length):
  want = read(tmp_path, crystal_bytes(4))
  got = read(tmp_path, crystal_bytes(4, extra=b'x' * length))
  np.testing.assert_array_equal(got.grid.array, want.grid.array)
  with pytest.raises(ValueError, match='fewer than'):
    read(tmp_path, crystal_bytes(4, extra=b'x' * length)[:-1])


def _missing_points(group, start, size):
  """Points of the cell without any mate in a box, by brute force."""
  sampling = CRYSTALS[group][1]
  m = np.array(sampling)
  given = np.zeros(sampling, bool)
  box = np.rint(fractions(start, size, sampling) * m).astype(int).reshape(-1, 3)
  for rotation, shift in OPERATORS[group]:
    mates = np.rint(box / m @ np.asarray(rotation).T * m + np.array(shift) * m)
    given[tuple((mates.astype(int) % m).T)] = True
  return ~given


@pytest.mark.parametrize('group', CRYSTALS)
def test_part_without_data_is_masked(tmp_path, group):
  cell, sampling, box = CRYSTALS[group]
  start, size = (1, 2, 3), (box[0], box[1] - 1, box[2] - 1)
  contents = crystal_bytes(group, start, size)
  with pytest.raises(ValueError, match=r'a\.ccp4.*asymmetric unit have data'):
    read(tmp_path, contents, min_coverage=0.999)
  got = read(tmp_path, contents, min_coverage=0.8)
  missing = _missing_points(group, start, size)
  assert 0 < missing.mean() < 0.2
  np.testing.assert_array_equal(np.isnan(got.grid.array), missing)
  assert got.coverage == pytest.approx(1 - missing.mean())
  values = density(group, fractions((0, 0, 0), sampling, sampling))
  assert got.mean == pytest.approx(values[~missing].mean(), rel=1e-4)
  assert got.sd == pytest.approx(values[~missing].std(), rel=1e-6)

  # in a cube: 0, and counted, where one of 4^3 values is missing
  centre = np.array([1.0, 2.0, 3.0])
  cube = crystal_maps.cut_cube(got, centre, 6.0, 0.3)
  index = np.stack(
    np.meshgrid(*[np.arange(len(cube.values))] * 3, indexing='ij'), -1
  )
  fractional = to_fractional(cell, cube.origin + index @ cube.steps)
  lower = np.floor(fractional * sampling).astype(int)
  lacks = np.zeros(lower.shape[:-1], bool)
  for shift in np.ndindex(4, 4, 4):
    tap = (lower + np.array(shift) - 1) % sampling
    lacks |= missing[tuple(np.moveaxis(tap, -1, 0))]
  assert 0.01 < lacks.mean() < 0.9
  assert cube.missing == pytest.approx(lacks.mean(), abs=1e-6)
  assert (cube.values[lacks] == 0).all()
  want = (density(group, fractional) - got.mean) / got.sd
  np.testing.assert_allclose(cube.values[~lacks], want[~lacks], atol=0.03)


def test_nan_in_a_file_is_no_data(tmp_path):
  cell, sampling, _ = CRYSTALS[1]
  values = density(1, fractions((0, 0, 0), sampling, sampling))
  values[3, 4, 5] = np.nan
  got = read(tmp_path, ccp4_bytes(values, cell, sampling))
  assert got.coverage == 1 - 1 / values.size
  assert np.isnan(got.grid.array).sum() == 1
  values[3, 4, 5] = np.inf
  with pytest.raises(ValueError, match='infinite'):
    read(tmp_path, ccp4_bytes(values, cell, sampling))


def test_wrong_symmetry_is_refused(tmp_path):
  # 4_3 for 4_1: the box holds more than the asymmetric unit
  size = (20, 20, 12)
  assert read(tmp_path, crystal_bytes(78, size=size)).coverage == 1
  with pytest.raises(ValueError, match='mates in P 41 differ by'):
    read(tmp_path, crystal_bytes(78, size=size, said=76))
  good = ['X,  Y,  Z', '-X,  1/2+Y,  -Z']
  assert read(tmp_path, crystal_bytes(4, operators=good)).coverage == 1
  with pytest.raises(ValueError, match='operators in the header'):
    read(tmp_path, crystal_bytes(4, operators=['X,Y,Z', '-X,Y,-Z']))
  with pytest.raises(ValueError, match='is not of group 78'):
    read(tmp_path, crystal_bytes(4, said=78))
  with pytest.raises(ValueError, match='no space group has the number 401'):
    read(tmp_path, crystal_bytes(4, said=401))


BOX = (10, 12, 14)
BOX_CELL = (5, 6, 7, 90, 90, 90)


def _blob(points, centre=(2.2, 2.7, 3.1)):
  return np.exp(-np.sum((np.asarray(points) - centre) ** 2, -1) / 2)


def particle_bytes(start=(0, 0, 0), cell=BOX_CELL, **changes):
  values = _blob(fractions((0, 0, 0), BOX, BOX) * cell[:3])
  return ccp4_bytes(values, cell, BOX, start=start, **changes)


@pytest.mark.parametrize(
  ('header', 'shift'),
  [
    ({}, (0, 0, 0)),
    ({'group': 0}, (0, 0, 0)),
    ({'start': (-5, 6, 30)}, (-2.5, 3, 15)),
    ({'origin': (3.5, -20.25, 7)}, (3.5, -20.25, 7)),
    ({'start': (-5, 6, 30), 'origin': (-2.5, 3, 15)}, (-2.5, 3, 15)),
    ({'start': (-5, 6, 30), 'axes': (3, 1, 2)}, (-2.5, 3, 15)),
  ],
)
def test_particle_ends_with_its_box(tmp_path, header, shift):
  got = read(tmp_path, particle_bytes(**header), periodic=False)
  assert not got.periodic
  assert got.shape == BOX
  centre = np.array([2.2, 2.7, 3.1]) + shift
  cube = crystal_maps.cut_cube(got, centre, 12, 0.5)
  index = np.stack(
    np.meshgrid(*[np.arange(len(cube.values))] * 3, indexing='ij'), -1
  )
  points = cube.origin + index @ cube.steps - shift
  # all 4^3 values have to be there: one step from the ends
  steps = np.array([0.5, 0.5, 0.5])
  last = (np.array(BOX) - 2) * steps
  inside = ((points > steps) & (points < last)).all(-1)
  clearly_out = ((points < steps - 1e-4) | (points > last + 1e-4)).any(-1)
  assert (cube.values[clearly_out] == 0).all()
  assert cube.missing == pytest.approx(1 - inside.mean(), abs=0.02)
  want = (_blob(points) - got.mean) / got.sd
  np.testing.assert_allclose(cube.values[inside], want[inside], atol=0.1)


def test_particle_or_crystal_is_not_guessed(tmp_path):
  """Inside of the box both readings agree."""
  unknown = read(tmp_path, particle_bytes())
  assert unknown.periodic is None
  inside = (2.5, 3, 3.5), 0.4, 0.4
  readings = [read(tmp_path, particle_bytes(), periodic=x) for x in (0, 1)]
  for reading in readings:
    np.testing.assert_allclose(
      crystal_maps.cut_cube(reading, *inside).values,
      crystal_maps.cut_cube(unknown, *inside).values,
      atol=1e-5,
    )
  assert crystal_maps.cut_cube(readings[0], (2, 3, 3), 8, 0.5).missing > 0.5
  with pytest.raises(ValueError, match=r'a\.ccp4: .*config.data.map_periodic'):
    crystal_maps.cut_cube(unknown, (2, 3, 3), 8, 0.5)
  # Image stacks and boxes with an origin are of no crystal.
  for header in ({'group': 0}, {'origin': (1, 2, 3)}):
    assert read(tmp_path, particle_bytes(**header)).periodic is False
  # The model's cell is the map's, up to the digits of files.
  for edge, periodic in ((5.02, True), (5.2, None)):
    cell = gemmi.UnitCell(edge, *BOX_CELL[1:])
    assert read(tmp_path, particle_bytes(), cell=cell).periodic is periodic


def test_a_part_of_a_cell_in_p1_is_not_guessed(tmp_path):
  """Maps of microscopes are cropped without a change of the cell."""
  cell = (10, 12, 14, 90, 90, 90)
  sampling = (20, 24, 28)
  values = _blob(fractions((0, 0, 0), BOX, BOX) * BOX_CELL[:3])
  contents = ccp4_bytes(values, cell, sampling, start=(4, 6, 8))
  with pytest.raises(ValueError, match=r'a\.ccp4: .*config.data.map_periodic'):
    read(tmp_path, contents)
  box = read(tmp_path, contents, periodic=False)
  np.testing.assert_allclose(box.origin, [2, 3, 4])
  assert box.coverage == 1
  part = read(tmp_path, contents, periodic=True, min_coverage=0.1)
  assert part.coverage == pytest.approx(1 / 8)
  centre = np.array([4.5, 6, 7.5])
  np.testing.assert_allclose(
    crystal_maps.cut_cube(box, centre, 1, 0.4).values,
    crystal_maps.cut_cube(part, centre, 1, 0.4).values,
    atol=1e-5,
  )
  with pytest.raises(ValueError, match='asymmetric unit have data'):
    read(tmp_path, contents, cell=gemmi.UnitCell(*cell))


def test_atoms_outside_of_the_box_tell_a_crystal(tmp_path):
  """As in an event map of PanDDA, whose box is no cell of the model."""
  rng = np.random.default_rng(0)
  unknown = read(tmp_path, particle_bytes())
  peak = np.array([2.2, 2.7, 3.1])
  at_images = peak + rng.normal(0, 0.3, (30, 3)) - [5, 0, 7]
  settled = crystal_maps.settled(unknown, at_images)
  assert settled.periodic
  want = read(tmp_path, particle_bytes(), periodic=True)
  for one in (settled, want):
    cube = crystal_maps.cut_cube(one, (0, 1, -9), 8, 0.4)
    np.testing.assert_allclose(
      cube.values,
      crystal_maps.cut_cube(want, (0, 1, -9), 8, 0.4).values, atol=1e-5,
    )  # fmt: skip
  assert crystal_maps.mean_at(settled, at_images) > 2
  # Controls: no density there, too few atoms, a reading that is known.
  elsewhere = at_images + np.array([2.5, 0, 3.5])
  assert crystal_maps.settled(unknown, elsewhere).periodic is None
  assert crystal_maps.settled(unknown, at_images[:5]).periodic is None
  box = read(tmp_path, particle_bytes(), periodic=False)
  assert crystal_maps.settled(box, at_images).periodic is False
  assert np.isnan(crystal_maps.mean_at(box, at_images))


def test_maps_of_another_crystal(tmp_path):
  contents = crystal_bytes(4)
  cell = CRYSTALS[4][0]
  path = write_mtz(tmp_path / 'b.mtz', group=4, rows=REFLECTIONS[:4])
  near = gemmi.UnitCell(cell[0] * 1.005, *cell[1:])
  for other in (None, gemmi.UnitCell(*cell), near):
    read(tmp_path, contents, cell=other)
    crystal_maps.read_map(path, cell=other)
  for other in ((9, 10, 11.5, 90, 108, 90), (9, 10, 11, 90, 106, 90)):
    other = gemmi.UnitCell(*other)
    with pytest.raises(ValueError, match=r'a\.ccp4: it is of another crystal'):
      read(tmp_path, contents, cell=other)
    with pytest.raises(ValueError, match=r'b\.mtz: it is of another crystal'):
      crystal_maps.read_map(path, cell=other)


def test_particle_or_crystal_on_request(tmp_path):
  # the same file as a crystal is repeated
  got = read(tmp_path, particle_bytes(), periodic=True)
  near = crystal_maps.cut_cube(got, (2, 3, 3), 8, 0.5)
  far = crystal_maps.cut_cube(got, (2 + 5 * 4, 3 - 6 * 2, 3 + 7), 8, 0.5)
  assert near.missing == 0
  np.testing.assert_allclose(near.values, far.values, atol=1e-4)
  with pytest.raises(ValueError, match=r'a\.ccp4.*periodic is False'):
    read(tmp_path, crystal_bytes(4), periodic=False)
  with pytest.raises(ValueError, match='right angles'):
    read(tmp_path, crystal_bytes(1), periodic=False)
  with pytest.raises(ValueError, match='two origins'):
    read(tmp_path, particle_bytes(start=(1, 2, 3), origin=(9, 9, 9)))
  with pytest.raises(ValueError, match='a crystal with the origin'):
    read(tmp_path, crystal_bytes(4, origin=(1, 0, 0)))
  particle = read(tmp_path, particle_bytes(), periodic=False)
  with pytest.raises(ValueError, match='model and map in one frame'):
    crystal_maps.cut_cube(particle, (100, 0, 0), 5, 0.5)


def _with(contents, offset, value, form='<i'):
  changed = bytearray(contents)
  struct.pack_into(form, changed, offset, value)
  return bytes(changed)


GOOD = crystal_bytes(4)


@pytest.mark.parametrize(
  ('contents', 'why'),
  [
    (b'', 'not even a CCP4 header'),
    (GOOD[:700], 'not even a CCP4 header'),
    (b'some text. ' * 200, 'not a CCP4 or MRC map'),
    (GOOD[:-1], 'fewer than'),
    (GOOD[: len(GOOD) // 2], 'fewer than'),
    (GOOD + b'1234', 'more than'),
    (_with(GOOD, 12, 3), 'mode 3'),
    (_with(GOOD, 12, 101), 'mode 101'),
    (_with(GOOD, 0, -20), 'impossible size'),
    (_with(GOOD, 4, 0), 'impossible size'),
    (_with(GOOD, 8, 2**31 - 1), 'impossible size'),
    (_with(GOOD, 8, 29), 'fewer than'),
    (_with(GOOD, 28, 0), 'impossible sampling'),
    (_with(GOOD, 36, 10**9), 'impossible sampling'),
    (_with(GOOD, 40, -3.0, '<f'), 'impossible cell'),
    (_with(GOOD, 40, 1e-30, '<f'), 'not those of a map'),
    (_with(GOOD, 40, np.nan, '<f'), 'impossible cell'),
    (_with(GOOD, 56, 181.0, '<f'), 'impossible cell'),
    (ccp4_bytes(np.ones(BOX), (5, 6, 7, 20, 20, 90), BOX), 'impossible cell'),
    (_with(GOOD, 64, 3), 'axes'),
    (_with(GOOD, 92, -80), 'impossible extended header'),
    (_with(GOOD, 92, 2**30), 'impossible extended header'),
    (_with(GOOD, 96, 1), 'skew'),
    (_with(GOOD, 196, np.nan, '<f'), 'origin'),
    (_with(GOOD, 212, 0), 'machine stamp'),
    (ccp4_bytes(np.ones(BOX), BOX_CELL, BOX), 'constant'),
    (ccp4_bytes(np.full(BOX, np.nan), BOX_CELL, BOX), 'no values'),
    # a screw axis needs an even number of points
    (
      ccp4_bytes(np.ones((20, 13, 28)), CRYSTALS[4][0], (20, 23, 28), 4),
      'grid size is not compatible',
    ),
  ],
)
def test_damaged_files_are_named(tmp_path, contents, why):
  with pytest.raises(ValueError, match=rf'a\.ccp4(?s:.*){why}') as error:
    read(tmp_path, contents)
  assert len(str(error.value).split(':', 1)[1].strip()) > 8


def test_damaged_compression_is_named(tmp_path):
  packed = gzip.compress(GOOD)
  for contents in (packed[:1500], packed[:5], packed[:-8] + bytes(8)):
    with pytest.raises(ValueError, match=r'a\.ccp4\.gz'):
      read(tmp_path, contents, 'a.ccp4.gz')
  with pytest.raises(FileNotFoundError):
    crystal_maps.read_map(tmp_path / 'none.ccp4')


def test_impossible_arguments(tmp_path):
  crystal_map = read(tmp_path, GOOD)
  for options, why in [
    ({'kind': 'anom'}, 'kind must be'),
    ({'unit': 'e'}, 'unit must be'),
    ({'unit': 'e/A^3'}, 'does not say'),
    ({'columns': ('F', 'PHI')}, 'columns are for'),
  ]:
    with pytest.raises(ValueError, match=why):
      read(tmp_path, GOOD, **options)
  with pytest.raises(ValueError, match=r'\.ccp4, \.map, \.mrc, \.mtz, \.cif'):
    read(tmp_path, GOOD, 'a.brix')
  cut = crystal_maps.cut_cube
  with pytest.raises(ValueError, match='would alias'):
    cut(crystal_map, (0, 0, 0), 5, crystal_map.spacing * 1.01)
  cut(crystal_map, (0, 0, 0), 5, crystal_map.spacing)
  for arguments, why in [
    (((0, 0), 5, 0.3), 'centre'),
    (((0, 0, np.nan), 5, 0.3), 'centre'),
    (((0, 0, 0), -5, 0.3), 'edge'),
    (((0, 0, 0), 5, 0), 'spacing'),
    (((0, 0, 0), 1e4, 0.3), 'too large'),
  ]:
    with pytest.raises(ValueError, match=why):
      cut(crystal_map, *arguments)


REFLECTIONS = [
  # h, k, l, amplitude, phase in degrees
  (1, 0, 0, 40.0, 20.0), (1, 2, 1, 25.0, 75.0), (0, 1, 2, 30.0, -130.0),
  (-1, 1, 3, 18.0, 10.0), (2, 2, 2, np.nan, 5.0),
]  # fmt: skip


def write_mtz(path, labels=('FWT', 'PHWT'), types='FP', group=1, **changes):
  mtz = gemmi.Mtz(with_base=True)
  mtz.spacegroup = gemmi.SpaceGroup(group)
  mtz.set_cell_for_all(gemmi.UnitCell(*CRYSTALS[group][0]))
  mtz.add_dataset('made')
  for label, kind in zip(labels, types, strict=True):
    mtz.add_column(label, kind)
  mtz.set_data(np.array(changes.get('rows', REFLECTIONS), np.float32))
  mtz.write_to_file(str(path))
  return path


def test_mtz_against_the_closed_form(tmp_path):
  # rho = 2/V sum F cos(2 pi h.x - phi), over one of each Friedel pair
  path = write_mtz(tmp_path / 'a.mtz')
  got = crystal_maps.read_map(path, unit='e/A^3')
  cell = CRYSTALS[1][0]
  volume = 1 / np.linalg.det(to_fractional(cell, np.eye(3)))
  rho = np.zeros(got.grid.shape)
  x = fractions((0, 0, 0), rho.shape, rho.shape)
  for *hkl, amplitude, phase in REFLECTIONS[:-1]:  # the last one is missing
    wave = 2 * np.pi * (x @ hkl) - np.radians(phase)
    rho += 2 / volume * amplitude * np.cos(wave)
  np.testing.assert_allclose(got.grid.array, rho, atol=1e-5 * rho.std())
  # Parseval
  amplitudes = np.array([row[3] for row in REFLECTIONS[:-1]])
  sd = np.sqrt(2 * np.sum(amplitudes**2)) / volume
  assert got.sd == pytest.approx(sd, rel=1e-5)
  assert got.mean == pytest.approx(0, abs=1e-6 * sd)
  sigma = crystal_maps.read_map(path)
  np.testing.assert_allclose(sigma.grid.array, rho / sd, atol=1e-5)
  # |h|* of -1 1 3, by the matrix above
  hkl = np.array([r[:3] for r in REFLECTIONS[:-1]])
  lengths = np.linalg.norm(hkl @ to_fractional(cell, np.eye(3)).T, axis=1)
  assert got.d_min == pytest.approx(1 / lengths.max(), rel=1e-5)
  assert got.spacing <= got.d_min / 4 * (1 + 1e-6)
  # a mean that is in the file after all is taken out
  rows = [(0, 0, 0, 500.0, 0.0), *REFLECTIONS]
  path = write_mtz(tmp_path / 'b.mtz', rows=rows)
  again = crystal_maps.read_map(path, unit='e/A^3')
  assert again.mean == pytest.approx(500 / volume, rel=1e-5)
  np.testing.assert_allclose(again.grid.array, rho, atol=1e-4 * rho.std())


def test_mtz_symmetry(tmp_path):
  path = write_mtz(tmp_path / 'a.mtz', group=4, rows=REFLECTIONS[:4])
  values = np.array(crystal_maps.read_map(path).grid.array)
  # -x, y + 1/2, -z
  mates = np.roll(values[::-1, :, ::-1], (1, 0, 1), (0, 1, 2))
  mates = np.roll(mates, values.shape[1] // 2, axis=1)
  np.testing.assert_allclose(mates, values, atol=1e-5)
  assert np.abs(values[::-1] - values).max() > 0.5


@pytest.mark.parametrize(
  ('kind', 'labels'),
  [(k, pair) for k, pairs in ccp4_mtz.COLUMNS.items() for pair in pairs],
)
def test_mtz_column_names(tmp_path, kind, labels):
  path = write_mtz(tmp_path / 'a.mtz', labels)
  assert crystal_maps.read_map(path, kind).coverage == 1
  other = 'fofc' if kind == '2fofc' else '2fofc'
  with pytest.raises(ValueError, match=rf'a\.mtz: no {other} map coefficients'):
    crystal_maps.read_map(path, other)


def test_mtz_with_other_columns(tmp_path):
  path = write_mtz(tmp_path / 'a.mtz', ('FC', 'PHIC'))
  with pytest.raises(ValueError, match='it has the phases PHIC'):
    crystal_maps.read_map(path)
  assert crystal_maps.read_map(path, columns=('FC', 'PHIC')).coverage == 1
  with pytest.raises(ValueError, match='such map coefficients'):
    crystal_maps.read_map(path, columns=('FC', 'PHI'))
  with pytest.raises(ValueError, match='always of a crystal'):
    crystal_maps.read_map(path, columns=('FC', 'PHIC'), periodic=False)
  # amplitudes twice
  path = write_mtz(tmp_path / 'a.mtz', types='FF')
  with pytest.raises(ValueError, match='without any phases'):
    crystal_maps.read_map(path)
  rows = [(1, 0, 0, np.nan, 5.0), (2, 0, 0, 4.0, np.nan)]
  path = write_mtz(tmp_path / 'a.mtz', rows=rows)
  with pytest.raises(ValueError, match='all of FWT or PHWT is missing'):
    crystal_maps.read_map(path)


def write_sf_mmcif(path, change=lambda text: text):
  """Coefficients of REFLECTIONS, by the wwPDB's names, without gemmi."""
  cell = dict(
    zip(
      ['length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta',
       'angle_gamma'], CRYSTALS[1][0], strict=True,
    )
  )  # fmt: skip
  lines = ['data_r1abcsf', "_symmetry.space_group_name_H-M 'P 1'"]
  lines += [f'_cell.{name} {value}' for name, value in cell.items()]
  lines += ['loop_', '_refln.index_h', '_refln.index_k', '_refln.index_l',
            '_refln.pdbx_FWT', '_refln.pdbx_PHWT', '_refln.pdbx_DELFWT',
            '_refln.pdbx_DELPHWT']  # fmt: skip
  for h, k, l, amplitude, phase in REFLECTIONS[:-1]:
    lines.append(f'{h} {k} {l} {amplitude} {phase} {amplitude / 2} {-phase}')
  first = ['data_measured', 'loop_', '_refln.index_h', '_refln.index_k',
           '_refln.index_l', '_refln.F_meas_au', '1 0 0 12.5']  # fmt: skip
  path.write_text(change('\n'.join([*first, *lines, ''])))
  return path


@pytest.mark.parametrize('name', ['1abc-sf.cif', 'r1abcsf.ent', 'a.cif.gz'])
def test_coefficients_in_mmcif(tmp_path, name):
  path = write_sf_mmcif(tmp_path / name)
  want = crystal_maps.read_map(
    write_mtz(tmp_path / 'a.mtz', rows=REFLECTIONS[:-1]), unit='e/A^3'
  )
  got = crystal_maps.read_map(path, unit='e/A^3')
  np.testing.assert_allclose(
    got.grid.array, want.grid.array, atol=1e-5 * want.sd
  )
  assert got.d_min == pytest.approx(want.d_min)
  difference = crystal_maps.read_map(path, 'fofc', unit='e/A^3')
  assert difference.sd == pytest.approx(want.sd / 2, rel=1e-5)


def test_mmcif_without_coefficients_is_named(tmp_path):
  for change, why in [
    (
      lambda text: text.replace('_refln.pdbx_', '_refln.my_'),
      'it has .*my_FWT',
    ),
    (lambda text: text.replace('_refln.', '_atom.'), 'no reflections'),
    (lambda text: text[:-60] + ' x', 'Wrong number of values'),
    (lambda text: '', 'no reflections'),
    (lambda text: text.replace('_cell', '_my'), 'no unit cell'),
    (lambda text: text.replace('_symmetry', '_my'), 'no known space group'),
  ]:
    path = write_sf_mmcif(tmp_path / 'a.cif', change)
    with pytest.raises(ValueError, match=rf'a\.cif: (?s:.*){why}'):
      crystal_maps.read_map(path)


def test_damaged_mtz_is_named(tmp_path):
  good = write_mtz(tmp_path / 'good.mtz').read_bytes()
  ends = [0, 10, 100, len(good) - 2000, len(good) - 900, len(good) - 80]
  for end in ends:
    with pytest.raises(ValueError, match=r'a\.mtz: '):
      read(tmp_path, good[: max(end, 0)], 'a.mtz')
  with pytest.raises(ValueError, match=r'a\.mtz: '):
    read(tmp_path, b'MTZENDOFHEADERS' * 50, 'a.mtz')
  # Indices of which a map would take more than there is memory.
  far = [(10**9, 0, 0, 1.0, 0.0), (900, 900, 900, 1.0, 0.0)]
  for row in far:
    path = write_mtz(tmp_path / 'a.mtz', rows=[*REFLECTIONS, row])
    with pytest.raises(ValueError, match=r'a\.mtz: a map of .* points is imp'):
      crystal_maps.read_map(path)
  with pytest.raises(ValueError, match=r'a\.mtz\.gz'):
    read(tmp_path, gzip.compress(good)[:200], 'a.mtz.gz')
  got = read(tmp_path, gzip.compress(good), 'a.mtz.gz')
  assert got.coverage == 1


# What follows needs real maps.

REAL = [
  ('3str-2fofc.from_brix.ccp4.gz', '3str.cif', '2fofc'),
  ('3nzd.ccp4.gz', '3nzd.cif', '2fofc'),
  ('3nzd_diff.ccp4.gz', '3nzd.cif', 'fofc'),
  ('rnasa-1.8-all_refmac1.mtz', 'tutorial-modern.pdb', '2fofc'),
  ('rnasa-1.8-all_refmac1.mtz', 'tutorial-modern.pdb', 'fofc'),
  ('5wkd_phases.mtz.gz', '5wkd.pdb', '2fofc'),
  ('5wkd_phases.mtz.gz', '5wkd.pdb', 'fofc'),
]


def _model_atoms(path):
  """Atomic numbers and positions: occupancy from 0.5, no hydrogen."""
  structure = gemmi.read_structure(str(path))  # owns the atoms
  atoms = [
    (site.atom.element.atomic_number, site.atom.pos.tolist())
    for site in structure[0].all()
    if site.atom.occ >= 0.5 and not site.atom.is_hydrogen()
  ]
  numbers, coords = zip(*atoms, strict=True)
  return np.array(numbers), np.array(coords)


@pytest.mark.parametrize(('file', 'model', 'kind'), REAL)
def test_density_at_the_atoms_in_every_orientation(
  shared_data, file, model, kind
):
  folder = shared_data / 'maps' / 'xray'
  crystal_map = crystal_maps.read_map(folder / file, kind)
  numbers, coords = _model_atoms(folder / model)
  centre = coords.mean(axis=0)
  radius = np.linalg.norm(coords - centre, axis=1).max()
  cube = crystal_maps.cut_cube(
    crystal_map, centre, 2 * radius, crystal_map.spacing
  )
  assert cube.missing < 0.01
  mol = Molecule.from_arrays(numbers, coords, density_map=DensityMap(*cube[:3]))

  def at_atoms(mol):
    return fields.map_density(mol, mol.coords_A3)

  at_atoms = jax.jit(at_atoms)
  want = np.asarray(at_atoms(mol))
  if kind == '2fofc':
    assert 2 < want.mean() < 4
  else:
    assert abs(want.mean()) < 0.2
  # gemmi's interpolation of the crystal's own grid; the cube's grid comes in
  # between, and costs peaks of the map some of their height
  direct = crystal_map.grid.interpolate_position_array(coords, order=3)
  assert np.sqrt(np.mean((direct - want) ** 2)) < 0.15
  for seed in range(5):
    rotation = geometry.random_rotation(jax.random.key(seed))
    turned = geometry.rotate(mol, rotation)
    got = np.asarray(at_atoms(turned))
    # positions to 1e-6 of 40 Å, slopes of up to 5 sd in 1 Å
    np.testing.assert_allclose(got, want, atol=2e-3)
    # control: the atoms alone
    alone = Molecule.from_arrays(
      numbers, turned.coords_A3, density_map=mol.density_map, center=False
    )
    wrong = np.asarray(at_atoms(alone))
    assert np.std(wrong - want) > 0.5
    if kind == '2fofc':
      assert wrong.mean() < 0.5 * want.mean()


def test_real_maps_are_gemmis(shared_data):
  folder = shared_data / 'maps' / 'xray'
  got = crystal_maps.read_map(folder / '3nzd.ccp4.gz')
  grid = gemmi.read_ccp4_map(str(folder / '3nzd.ccp4.gz'), setup=True).grid
  grid.normalize()
  np.testing.assert_allclose(got.grid.array, grid.array, atol=1e-4)
  got = crystal_maps.read_map(folder / '5wkd_phases.mtz.gz', unit='e/A^3')
  mtz = gemmi.read_mtz_file(str(folder / '5wkd_phases.mtz.gz'))
  grid = mtz.transform_f_phi_to_map('FWT', 'PHWT', exact_size=got.shape)
  np.testing.assert_allclose(got.grid.array, grid.array, atol=1e-6)


def test_amplitudes_without_phases_are_refused(shared_data):
  path = shared_data / 'maps' / 'xray' / '5e5z.mtz'
  with pytest.raises(ValueError, match=r'5e5z\.mtz.*without any phases'):
    crystal_maps.read_map(path)


def test_maps_of_microscopes(shared_data):
  folder = shared_data / 'maps' / 'cryoem'
  particle = crystal_maps.read_map(folder / 'EMD-3197.map')
  assert not particle.periodic
  np.testing.assert_allclose(particle.origin, [-22.8, 0, 0], atol=1e-4)
  # two-dimensional crystals are crystals: MicroED, P 21
  crystal = crystal_maps.read_map(folder / 'EMD-3001.map')
  assert crystal.periodic
  assert crystal.shape == (40, 12, 72)
