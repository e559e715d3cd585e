import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from support.random_gaussians import random_gaussians

from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels import gaussians


@pytest.mark.parametrize('grid', [Grid(9, 0.5), Grid(10, 0.37), Grid(1, 1.0)])
def test_separable_equals_pointwise(grid):
  coords, weights, sigma = random_gaussians()
  got = gaussians.splat_grid(coords, weights, sigma, grid)
  assert got.shape == (grid.size,) * 3 + (3,)
  want = gaussians.splat_points(grids.centres(grid), coords, weights, sigma)
  # float32: the exponent of a product is a sum of three roundings
  np.testing.assert_allclose(
    got.reshape(-1, 3), want, rtol=0, atol=2e-6 * float(jnp.abs(want).max())
  )


def test_pointwise_equals_numpy_in_double():
  coords, weights, sigma = (
    np.asarray(x, np.float64) for x in random_gaussians()
  )
  points = np.random.default_rng(1).normal(size=(20, 3))
  d2 = ((points[:, None] - coords) ** 2).sum(-1)
  values = np.exp(-d2 / (2 * sigma**2)) / (sigma**3 * (2 * np.pi) ** 1.5)
  got = gaussians.splat_points(points, *random_gaussians())
  np.testing.assert_allclose(got, values @ weights, rtol=0, atol=3e-6)


def test_axes_are_x_y_z():
  # One atom off centre along y alone: the maximum lies there, and nowhere
  # else; a swap of axes would show.
  grid = Grid(9, 0.5)
  coords = jnp.array([[0.0, 1.0, -0.5]])
  vox = gaussians.splat_grid(coords, jnp.ones((1, 1)), jnp.full(1, 0.3), grid)
  assert np.unravel_index(int(jnp.argmax(vox)), vox.shape) == (4, 6, 3, 0)


def test_unit_integral():
  # All of each Gaussian is in the box; point values on a grid finer than
  # sigma are exact to exp(-2 (pi sigma/h)^2), 1e-12 here.
  grid = Grid(40, 0.4)
  coords, weights, _ = random_gaussians()
  sigma = jnp.linspace(0.5, 0.9, len(coords))
  vox = gaussians.splat_grid(coords, weights, sigma, grid)
  np.testing.assert_allclose(
    vox.sum((0, 1, 2)) * grid.voxel_volume, weights.sum(0), atol=1e-5
  )


def test_peak_one():
  sigma = jnp.array([0.4])
  weights = gaussians.peak_to_integral(sigma)[:, None]
  vox = gaussians.splat_grid(jnp.zeros((1, 3)), weights, sigma, Grid(3, 0.4))
  assert float(vox[1, 1, 1, 0]) == pytest.approx(1, rel=1e-6)
  assert float(vox[0, 1, 1, 0]) == pytest.approx(np.exp(-0.5), rel=1e-6)


@pytest.mark.parametrize('supersample', [2, 3])
def test_supersampled_lines_equal_means_over_sub_points(supersample):
  coords, weights, sigma = random_gaussians()
  grid = Grid(6, 0.7)
  got = gaussians.splat_grid(coords, weights, sigma, grid, supersample)
  fine = gaussians.splat_grid(coords, weights, sigma, grid.refine(supersample))
  want = grids.pool(fine, supersample)
  atol = 2e-6 * float(jnp.abs(want).max())
  np.testing.assert_allclose(got, want, rtol=0, atol=atol)
  point = gaussians.splat_grid(coords, weights, sigma, grid)
  assert float(jnp.abs(point - want).max()) > 100 * atol


def test_dense_averages_approach_the_mean_over_a_cell(x64):
  coords, weights, sigma = random_gaussians(dtype=np.float64)
  grid = Grid(4, 1.0)
  edges_3XA = (np.arange(5) - 2.0)[:, None] - np.asarray(coords.T)[:, None, :]
  cdf_3XA = scipy.stats.norm.cdf(edges_3XA / np.asarray(sigma))
  exact = np.einsum('xa,ya,za,ac->xyzc', *np.diff(cdf_3XA, axis=1), weights)
  errors = []
  for s in (20, 40):
    dense = gaussians.splat_grid(coords, weights, sigma, grid, supersample=s)
    errors.append(float(jnp.abs(dense - exact).max() / np.abs(exact).max()))
  # the midpoint rule closes in with the square of the step
  assert errors[1] < 1e-3
  assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)


def test_padding_is_inert_in_value_and_gradient():
  coords, weights, sigma = random_gaussians()
  more = (
    jnp.concatenate([coords, jnp.zeros((4, 3))]),
    jnp.concatenate([weights, jnp.zeros((4, 3))]),
    jnp.concatenate([sigma, jnp.ones(4)]),
  )
  grid = Grid(7, 0.5)

  def loss(coords, weights, sigma):
    vox = gaussians.splat_grid(coords, weights, sigma, grid)
    return jnp.sum(vox**2), vox

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (_, vox), slope = step(coords, weights, sigma)
  (_, padded_vox), padded_slope = step(*more)
  # another length of the sum may round it otherwise
  np.testing.assert_allclose(padded_vox, vox, rtol=0, atol=1e-6)
  np.testing.assert_array_equal(padded_slope[6:], 0)
  np.testing.assert_allclose(padded_slope[:6], slope, rtol=1e-4, atol=1e-5)
  # control: the same atoms with weight are not inert
  (_, loud), _ = step(more[0], more[1].at[6:].set(1), more[2])
  assert float(jnp.abs(loud - padded_vox).max()) > 0.1


@pytest.mark.parametrize('supersample', [1, 2])
def test_coordinate_gradients_against_central_differences(x64, supersample):
  coords, weights, sigma = random_gaussians(dtype=np.float64)
  grid = Grid(5, 0.8)
  probe = jax.random.normal(jax.random.key(0), (5, 5, 5, 3), np.float64)

  @jax.jit
  def loss(coords):
    vox = gaussians.splat_grid(coords, weights, sigma, grid, supersample)
    return jnp.sum(vox * probe)

  slope = jax.grad(loss)(coords)
  step = 1e-5
  for atom, axis in ((0, 0), (3, 1), (5, 2)):
    up = loss(coords.at[atom, axis].add(step))
    down = loss(coords.at[atom, axis].add(-step))
    assert float(slope[atom, axis]) == pytest.approx(
      float(up - down) / (2 * step), rel=1e-7, abs=1e-9
    )


def test_vmap_over_molecules():
  cases = [random_gaussians(seed) for seed in range(3)]
  batch = jax.tree.map(lambda *xs: jnp.stack(xs), *cases)
  grid = Grid(5, 0.6)
  got = jax.vmap(functools.partial(gaussians.splat_grid, grid=grid))(*batch)
  for vox, case in zip(got, cases, strict=True):
    np.testing.assert_allclose(
      vox, gaussians.splat_grid(*case, grid), rtol=0, atol=1e-6
    )


def test_keeps_dtype_under_strict_promotion(strict_promotion):
  for supersample in (1, 2):
    vox = gaussians.splat_grid(*random_gaussians(), Grid(4, 0.5), supersample)
    assert vox.dtype == jnp.float32


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'coords_A3': jnp.zeros((6, 2))}, 'coords'),
    ({'weights_AC': jnp.zeros(6)}, 'weights'),
    ({'weights_AC': jnp.zeros((5, 1))}, 'weights'),
    ({'sigma_A': jnp.ones(5)}, 'sigma'),
  ],
)
def test_wrong_shapes_are_named(change, message):
  coords, weights, sigma = random_gaussians()
  args = {'coords_A3': coords, 'weights_AC': weights, 'sigma_A': sigma}
  with pytest.raises(ValueError, match=message):
    gaussians.splat_grid(**{**args, **change}, grid=Grid(3, 0.5))
  with pytest.raises(ValueError, match=message):
    gaussians.splat_points(jnp.zeros((1, 3)), **{**args, **change})
  with pytest.raises(ValueError, match='points'):
    gaussians.splat_points(jnp.zeros(3), **args)
