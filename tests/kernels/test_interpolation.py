import gemmi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from edjax import fields, geometry
from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels import interpolation
from edjax.molecule import DensityMap, Molecule

# Jitted: op by op, each would be compiled on its own.
sample = jax.jit(interpolation.sample)
sample_grid = jax.jit(interpolation.sample_grid, static_argnums=(1, 2))

# A frame that is neither orthogonal nor at the origin.
STEPS = np.array([[0.4, 0, 0], [0.05, 0.45, 0], [-0.03, 0.02, 0.5]])
ORIGIN = np.array([-4.0, -4.5, -5.0])


def _nodes(shape):
  index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1)
  return index @ STEPS + ORIGIN


def _map(function, shape=(20, 21, 22), dtype=np.float32) -> DensityMap:
  return DensityMap(
    *(jnp.asarray(x, dtype) for x in (function(_nodes(shape)), ORIGIN, STEPS))
  )


def _gaussian(xyz, sigma=1.2):
  return np.exp(-(np.asarray(xyz) ** 2).sum(-1) / (2 * sigma**2))


def test_passes_through_the_values():
  density_map = _map(_gaussian, (7, 8, 9))
  nodes = _nodes((7, 8, 9)).reshape(-1, 3)
  got = sample(density_map, nodes)
  np.testing.assert_allclose(got, density_map.values_XYZ.reshape(-1), atol=1e-5)


def test_reproduces_quadratics(x64):
  def quadratic(p):
    x, y, z = np.moveaxis(np.asarray(p), -1, 0)
    return 2 + x - 3 * y * z + 0.5 * z * z - x * x

  density_map = _map(quadratic, dtype=np.float64)
  points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
  np.testing.assert_allclose(
    sample(density_map, points), quadratic(points), atol=1e-12
  )
  # control: a cubic is out of its reach
  cubic = _map(lambda p: np.asarray(p)[..., 0] ** 3, dtype=np.float64)
  error = jnp.abs(sample(cubic, points) - points[:, 0] ** 3)
  assert float(error.max()) > 1e-3


def test_third_order_against_an_analytic_gaussian(x64):
  points = np.random.default_rng(0).uniform(-0.8, 0.8, (200, 3))
  errors = []
  for refine in (1, 2):
    shape = tuple(refine * n for n in (20, 21, 22))
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1)
    density_map = DensityMap(
      jnp.asarray(_gaussian(index @ (STEPS / refine) + ORIGIN)),
      jnp.asarray(ORIGIN),
      jnp.asarray(STEPS / refine),
    )
    got = sample(density_map, points)
    errors.append(float(jnp.abs(got - _gaussian(points)).max()))
  assert errors[0] < 5e-3
  assert errors[0] / errors[1] > 6  # 8 for third order


def test_equals_gemmis_interpolation():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(12, 12, 12)).astype(np.float32)
  grid = gemmi.FloatGrid(values)
  grid.set_unit_cell(gemmi.UnitCell(6, 6, 6, 90, 90, 90))
  density_map = DensityMap(jnp.asarray(values), jnp.zeros(3), 0.5 * jnp.eye(3))
  points = rng.uniform(1.0, 4.0, (40, 3))  # gemmi's map is periodic
  want = grid.interpolate_position_array(points, order=3)
  got = sample(density_map, points)
  np.testing.assert_allclose(got, want, atol=2e-5)
  other = grid.interpolate_position_array(points, order=1)
  assert float(jnp.abs(other - got).max()) > 0.1


def test_close_to_scipys_spline_on_a_smooth_map():
  # another cubic scheme (B-spline with prefilter), good to the fourth order
  density_map = _map(_gaussian)
  points = np.random.default_rng(1).uniform(-1, 1, (100, 3))
  index = interpolation.map_indices(
    density_map, jnp.asarray(points, jnp.float32)
  )
  spline = scipy.ndimage.map_coordinates(
    np.asarray(density_map.values_XYZ), np.asarray(index).T, order=3
  )
  got = sample(density_map, points)
  np.testing.assert_allclose(got, spline, atol=5e-3)
  np.testing.assert_allclose(spline, _gaussian(points), atol=1e-3)


def test_zero_outside_and_whole_up_to_the_edge():
  # skew steps, and a frame away from the origin
  shape = np.array([4, 5, 6])
  density_map = _map(lambda p: np.ones(p.shape[:3]), tuple(shape))
  rng = np.random.default_rng(0)
  index = rng.uniform(0, shape - 1, (300, 3))
  inside = sample(density_map, index @ STEPS + ORIGIN)
  np.testing.assert_allclose(inside, 1, rtol=0, atol=1e-6)
  for axis in range(3):
    for beyond in (0.01, 0.9, 2.5, 1e3, 1e7):
      for outside in (-beyond, shape[axis] - 1 + beyond):
        out = index.copy()
        out[:, axis] = outside
        found = sample(density_map, out @ STEPS + ORIGIN)
        np.testing.assert_array_equal(found, 0)


def test_gradients_at_the_edge_and_far_outside(x64):
  # x^2: exact where all four values are there, finite everywhere
  density_map = DensityMap(
    jnp.tile(jnp.arange(5.0)[:, None, None] ** 2, (1, 3, 3)),
    jnp.zeros(3), jnp.eye(3),
  )  # fmt: skip
  x = jnp.array([-1e30, -0.5, 0.0, 1.5, 2.0, 4.0, 4.5, 1e30])
  slope = jax.grad(lambda x: sample(density_map, jnp.array([[x, 1, 1]]))[0])
  got = jax.vmap(slope)(x)
  # at the edges the edge value is taken once more: half the difference
  np.testing.assert_allclose(got, [0, 0, 0.5, 3, 4, 3.5, 0, 0], atol=1e-12)


def test_derivatives_against_central_differences(x64):
  density_map = _map(_gaussian, dtype=np.float64)
  points = jnp.array([[0.3, -0.2, 0.71], [1.0, 0.5, -0.4]])
  slopes = jax.vmap(jax.grad(lambda p: sample(density_map, p[None])[0]))(points)
  step = 1e-6
  for axis in range(3):
    shift = step * jnp.eye(3)[None, axis]
    difference = (
      sample(density_map, points + shift) - sample(density_map, points - shift)
    ) / (2 * step)
    np.testing.assert_allclose(slopes[:, axis], difference, rtol=1e-6)


def test_grid_is_the_mean_over_sub_points():
  density_map = _map(_gaussian)
  grid = Grid(5, 0.6)
  fine = sample(density_map, grids.centres(grid.refine(2)))
  want = grids.pool(fine.reshape(10, 10, 10), 2)
  got = sample_grid(density_map, grid, 2)
  np.testing.assert_allclose(got, want, atol=1e-6)
  assert not np.allclose(sample_grid(density_map, grid), want, atol=1e-3)


def test_the_map_turns_with_the_molecule():
  density_map = _map(lambda p: _gaussian(p - np.array([1.0, 0.3, -0.5])))
  mol = Molecule.from_arrays(
    [6], [[0.0, 0, 0]], density_map=density_map, center=False
  )
  rotation = geometry.random_rotation(jax.random.key(3))
  points = np.random.default_rng(0).uniform(-1.5, 1.5, (30, 3))
  turned = geometry.rotate(mol, rotation)
  got = sample(turned.density_map, points @ np.asarray(rotation).T)
  want = sample(density_map, points)
  np.testing.assert_allclose(got, want, atol=1e-5)
  wrong = sample(turned.density_map, points)
  assert float(jnp.abs(wrong - want).max()) > 0.1


def _part_of_3nzd(shared_data):
  """gemmi's grid, a part of it as a map, and points well inside."""
  # 3NZD, 2Fo-Fc, in R3: the unit cell is not orthogonal.
  path = shared_data / 'maps' / 'xray' / '3nzd.ccp4.gz'
  grid = gemmi.read_ccp4_map(str(path), setup=True).grid
  start, size = np.array([10, 20, 5]), (30, 32, 34)
  cell = np.array(grid.unit_cell.orth.mat.tolist())
  steps = (cell / np.array(grid.shape)).T
  part = grid.get_subarray(start.tolist(), size)
  density_map = DensityMap(
    *(jnp.asarray(x, jnp.float32) for x in (part, start @ steps, steps))
  )
  rng = np.random.default_rng(0)
  points = (start + rng.uniform(2, np.array(size) - 3, (100, 3))) @ steps
  return grid, density_map, points


def test_experimental_map_against_gemmi(shared_data):
  grid, density_map, points = _part_of_3nzd(shared_data)
  want = grid.interpolate_position_array(points, order=3)
  got = sample(density_map, points)
  # the same formula: what is left is the rounding of positions of about 50 Å
  # to 5e-6 Å (in float64 they agree to 1e-7)
  np.testing.assert_allclose(got, want, atol=5e-5 * np.std(want))


def test_gradient_magnitude_of_an_experimental_map(shared_data, x64):
  grid, density_map, points = _part_of_3nzd(shared_data)
  mol = Molecule.from_arrays(
    [6], [[0.0, 0, 0]], density_map=density_map, center=False
  )
  magnitude = jax.jit(fields.gradient_magnitude(fields.map_density))
  got = magnitude(mol, points)

  # gemmi differentiates by the fractional coordinates
  cell = grid.unit_cell
  to_fractional = np.array(cell.frac.mat.tolist())
  slopes = [
    grid.tricubic_interpolation_der(cell.fractionalize(gemmi.Position(*p)))[1:]
    for p in points
  ]
  want = np.linalg.norm(slopes @ to_fractional, axis=1)
  # float32 positions and steps again, now of a difference
  np.testing.assert_allclose(got, want, atol=2e-3 * np.std(want))
  # control: without the cell's metric
  skewed = np.linalg.norm(slopes / np.array(cell.parameters[:3]), axis=1)
  assert np.abs(skewed - want).max() > 0.1 * np.std(want)

  exact = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), density_map)
  step = 1e-5
  differences = [
    (sample(exact, points + shift) - sample(exact, points - shift)) / (2 * step)
    for shift in step * np.eye(3)[:, None]
  ]
  lengths = np.linalg.norm(differences, axis=0)
  np.testing.assert_allclose(got, lengths, atol=2e-3 * np.std(want))


def test_wrong_shapes_are_named():
  density_map = _map(_gaussian, (4, 4, 4))
  with pytest.raises(ValueError, match='points'):
    sample(density_map, jnp.zeros(3))
  flat = DensityMap(jnp.zeros((4, 4)), jnp.zeros(3), jnp.eye(3))
  with pytest.raises(ValueError, match='map must be'):
    sample(flat, jnp.zeros((1, 3)))


def test_strict_promotion(strict_promotion):
  assert sample_grid(_map(_gaussian), Grid(3, 0.5), 2).dtype == jnp.float32
