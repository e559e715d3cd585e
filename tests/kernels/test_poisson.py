"""The free-space potential against closed forms, and its convergence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels import poisson

CENTRE = np.array([0.11, -0.07, 0.2])
potential = jax.jit(poisson.potential, static_argnums=1)


def _gaussian(grid, sigma, supersample=1):
  """A Gaussian charge of 1 and its potential erf(r/(sqrt2 sigma))/r."""
  fine = grid.refine(supersample)
  r = np.linalg.norm(grids.centres(fine) - CENTRE, axis=1)
  charge = np.exp(-(r**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
  around = scipy.special.erf(r / (np.sqrt(2) * sigma)) / r
  return tuple(
    grids.pool(jnp.asarray(values.reshape((fine.size,) * 3)), supersample)
    for values in (charge, around)
  )


def _error(grid, sigma, supersample=1):
  charge, want = _gaussian(grid, sigma, supersample)
  got = potential(charge, grid)
  return float(jnp.abs(got - want).max() / want.max())


@pytest.mark.parametrize('supersample', [1, 2])
def test_a_gaussian_converges_with_the_spacing(supersample, x64):
  # Half of the spacing takes four digits and more: not a power of it. What is
  # left at 1 Å is the sampling of the charge itself.
  errors = [_error(Grid(n, 12 / n), 0.35, supersample) for n in (12, 24, 48)]
  assert 0.03 < errors[0] < 0.5
  assert 1e-3 < errors[1] < 5e-3
  assert errors[2] < 3e-7
  assert _error(Grid(24, 0.5), 0.5, supersample) < 1e-4


@pytest.mark.parametrize('size', [1, 2, 15])
def test_every_size(size, x64):
  """Only what is in the box counts: a wider one, empty around it, agrees.

  Nearly: a charge that the box cuts off has edges, which are not resolved.
  """
  grid = Grid(size, 0.25)
  charge, _ = _gaussian(grid, 0.6)
  inner = (slice(8, 8 + size),) * 3
  wide = jnp.zeros((31,) * 3).at[inner].set(charge)
  want = potential(wide, Grid(31, 0.25))[inner]
  got = potential(charge, grid)
  np.testing.assert_allclose(got, want, rtol=0.02)


def test_there_are_no_images(x64):
  """Control: without the padding of zeros there are."""
  grid = Grid(24, 0.5)
  charge, want = _gaussian(grid, 0.5)
  k = 2 * np.pi * np.fft.fftfreq(24, 0.5)
  squares = sum(a**2 for a in np.meshgrid(k, k, k))
  squares[0, 0, 0] = np.inf
  periodic = np.fft.ifftn(np.fft.fftn(charge) * 4 * np.pi / squares).real
  assert np.abs(periodic - want).max() > 0.1 * want.max()
  error = jnp.abs(potential(charge, grid) - want).max()
  assert error < 1e-4 * want.max()


def test_float32_is_kept_and_enough(strict_promotion):
  grid = Grid(24, 0.5)
  charge, want = (x.astype(jnp.float32) for x in _gaussian(grid, 0.5))
  got = potential(charge, grid)
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, want, rtol=0, atol=2e-4)


def test_derivatives_are_potentials(x64):
  """It is linear and symmetric, so that backwards is forwards."""
  grid = Grid(6, 0.5)
  a, b = jax.random.normal(jax.random.key(0), (2, 6, 6, 6))
  back = jax.grad(lambda c: jnp.sum(b * potential(c, grid)))(a)
  np.testing.assert_allclose(back, potential(b, grid), atol=1e-12)
