import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support.random_gaussians import random_gaussians

from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels import gaussians, truncated_gaussians


def _published(d, radius):
  """Writes Ragoza et al.'s density as they do, with its slope, in float64."""
  d = np.asarray(d, np.float64)
  e2 = np.exp(-2.0)
  gaussian = np.exp(-2 * d**2 / radius**2)
  quadratic = 4 * e2 * d**2 / radius**2 - 12 * e2 * d / radius + 9 * e2
  inside, ends = d < radius, d < 1.5 * radius
  value = np.where(inside, gaussian, np.where(ends, quadratic, 0))
  rise = 8 * e2 * d / radius**2 - 12 * e2 / radius
  rise = np.where(ends, rise, 0)
  return value, np.where(inside, -4 * d / radius**2 * gaussian, rise)


# In radii: at the nucleus, in the Gaussian, about its end, in the parabola,
# about its end, and beyond.
DISTANCES = np.array(
  [0, 1e-3, 0.3, 0.7, 0.999, 1, 1.001, 1.2, 1.4, 1.499, 1.5, 1.501, 2, 30]
)


@pytest.mark.parametrize('sigma', [0.3, 0.5, 1.7])
def test_values_are_the_published_ones(sigma, x64):
  d = DISTANCES * 2 * sigma
  want, _ = _published(d, 2 * sigma)
  got = truncated_gaussians.profile(jnp.asarray((d / sigma) ** 2))
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-15)
  # Control: the whole Gaussian is another function beyond the radius.
  whole = np.exp(-(d**2) / (2 * sigma**2))
  np.testing.assert_allclose(want[d < 2 * sigma], whole[d < 2 * sigma])
  assert np.abs(whole - want).max() > 0.01


def test_nothing_is_left_beyond_three_deviations():
  t = jnp.asarray([3.0, np.nextafter(np.float32(3), 4), 3.1, 10.0, 1e19])
  np.testing.assert_array_equal(truncated_gaussians.profile(t**2), 0)
  assert float(truncated_gaussians.profile(jnp.float32(2.99**2))) > 1e-5


@pytest.mark.parametrize('mode', [jax.jacfwd, jax.jacrev])
def test_derivatives_are_the_published_ones(mode, x64):
  """At the nucleus, at both ends of the parabola and beyond as well."""
  sigma = 0.5
  points = np.zeros((len(DISTANCES), 3))
  points[:, 1] = DISTANCES * 2 * sigma
  one, wide = jnp.ones((1, 1)), jnp.full(1, sigma)
  peak = float(gaussians.peak_to_integral(wide)[0])

  def values(coords):
    return peak * truncated_gaussians.splat_points(points, coords, one, wide)

  with jax.debug_nans(True), jax.debug_infs(True):
    got = mode(values)(jnp.zeros((1, 3)))[:, 0, 0]
  # An atom that moves up moves the points down.
  want = np.zeros_like(points)
  want[:, 1] = -_published(points[:, 1], 2 * sigma)[1]
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
  assert np.abs(want).max() > 1


def test_second_derivatives_are_finite_at_the_nucleus():
  def value(x):
    return truncated_gaussians.profile(jnp.sum(x**2))

  with jax.debug_nans(True), jax.debug_infs(True):
    hessian = jax.hessian(value)(jnp.zeros(3))
  np.testing.assert_allclose(hessian, -np.eye(3), atol=1e-6)


def test_the_integral_is_that_of_both_parts(x64):
  """4 pi times the integrals of t^2 exp(-t^2/2) and exp(-2) t^2 (3 - t)^2.

  The first, to 2, is sqrt(pi/2) erf(sqrt 2) - 2 exp(-2); the second, from 2 to
  3, is 1.7 exp(-2).
  """
  sigma = 0.6
  inner = np.sqrt(np.pi / 2) * special.erf(np.sqrt(2)) - 2 * np.exp(-2)
  want = 4 * np.pi * (inner + 1.7 * np.exp(-2)) * sigma**3
  grid = Grid(40, 0.1)
  sigma_A = jnp.full(1, sigma)
  weights_AC = gaussians.peak_to_integral(sigma_A)[:, None]
  coords_A3 = jnp.asarray([[0.03, -0.02, 0.04]])
  vox = truncated_gaussians.splat_grid(coords_A3, weights_AC, sigma_A, grid)
  got = float(vox.sum()) * grid.voxel_volume
  # Jumps of the second derivative: the error falls off with the third power.
  assert got == pytest.approx(want, rel=2e-5)
  assert got < 0.93 * float(weights_AC[0, 0])


@pytest.mark.parametrize('supersample', [1, 2])
@pytest.mark.parametrize('grid', [Grid(9, 0.5), Grid(1, 1.0)])
def test_layers_equal_points(grid, supersample):
  terms = random_gaussians()
  fine = grid.refine(supersample)
  points_G3 = grids.centres(fine)
  want = jax.jit(truncated_gaussians.splat_points)(points_G3, *terms)
  want = grids.pool(want.reshape(*(fine.size,) * 3, 3), supersample)
  splat_grid = jax.jit(truncated_gaussians.splat_grid, static_argnums=(3, 4))
  got = splat_grid(*terms, grid, supersample)
  assert got.shape == (grid.size,) * 3 + (3,)
  top = float(jnp.abs(want).max())
  np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * top)


def test_axes_are_x_y_z():
  coords = jnp.array([[0.0, 1.0, -0.5]])
  vox = truncated_gaussians.splat_grid(
    coords, jnp.ones((1, 1)), jnp.full(1, 0.3), Grid(9, 0.5)
  )
  assert np.unravel_index(int(jnp.argmax(vox)), vox.shape) == (4, 6, 3, 0)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'coords_A3': jnp.zeros((6, 2))}, 'coords'),
    ({'weights_AC': jnp.zeros((5, 1))}, 'weights'),
    ({'sigma_A': jnp.ones(5)}, 'sigma'),
  ],
)
def test_wrong_shapes_are_named(change, message):
  coords, weights, sigma = random_gaussians()
  args = {'coords_A3': coords, 'weights_AC': weights, 'sigma_A': sigma}
  args |= change
  with pytest.raises(ValueError, match=message):
    truncated_gaussians.splat_grid(**args, grid=Grid(3, 0.5))
  with pytest.raises(ValueError, match=message):
    truncated_gaussians.splat_points(jnp.zeros((1, 3)), **args)
