"""Voxel centres, refinement and pooling."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from edjax import grid as grids
from edjax.grid import Grid


def test_centres_of_small_grids():
  np.testing.assert_allclose(grids.axis(Grid(3, 0.5)), [-0.5, 0, 0.5])
  np.testing.assert_allclose(grids.axis(Grid(4, 1.0)), [-1.5, -0.5, 0.5, 1.5])
  np.testing.assert_allclose(grids.axis(Grid(1, 2.0)), [0])


def test_centres_run_over_x_slowest():
  centres = grids.centres(Grid(4, 0.5)).reshape(4, 4, 4, 3)
  axis = grids.axis(Grid(4, 0.5))
  for i, j, k in ((0, 0, 0), (3, 1, 2), (1, 2, 3)):
    np.testing.assert_allclose(centres[i, j, k], [axis[i], axis[j], axis[k]])
  np.testing.assert_allclose(centres.mean((0, 1, 2)), 0, atol=1e-15)


def test_extent_and_volume():
  grid = Grid(24, 0.5)
  assert grid.extent == 12
  assert grid.voxel_volume == 0.125
  assert hash(grid) == hash(Grid(24, 0.5))
  with pytest.raises(dataclasses.FrozenInstanceError):
    grid.size = 3


@pytest.mark.parametrize('s', [1, 2, 3])
def test_refined_centres_lie_around_their_voxels(s):
  grid = Grid(4, 0.6)
  fine = grid.refine(s)
  assert fine.extent == pytest.approx(grid.extent)
  means = grids.axis(fine).reshape(4, s).mean(axis=1)
  np.testing.assert_allclose(means, grids.axis(grid), atol=1e-15)


def test_pool_takes_means_of_blocks():
  values = jnp.asarray(
    np.random.default_rng(0).normal(size=(4, 6, 8, 2)), jnp.float32
  )
  pooled = grids.pool(values, 2)
  assert pooled.shape == (2, 3, 4, 2)
  for i, j, k in np.ndindex(2, 3, 4):
    block = values[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
    np.testing.assert_allclose(
      pooled[i, j, k], np.mean(block, (0, 1, 2)), atol=1e-6
    )
  assert grids.pool(values, 1) is values


def test_pool_on_a_refined_grid_is_a_mean_over_the_voxel():
  """x^2 has the mean x^2 + (s^2 - 1)/12 (h/s)^2 over s equidistant points."""
  grid, s = Grid(5, 0.7), 3
  squares = jnp.asarray(grids.centres(grid.refine(s))[:, 0] ** 2)
  pooled = grids.pool(squares.reshape((15,) * 3), s)
  expected = grids.axis(grid) ** 2 + (s**2 - 1) / 12 * (0.7 / s) ** 2
  np.testing.assert_allclose(pooled[:, 2, 4], expected, rtol=1e-5)


@pytest.mark.parametrize('size', [0, -1, 2.5])
def test_bad_sizes(size):
  with pytest.raises(ValueError, match='size'):
    Grid(size, 0.5)


@pytest.mark.parametrize('spacing', [0.0, -0.5, float('nan'), float('inf')])
def test_bad_spacings(spacing):
  with pytest.raises(ValueError, match='spacing'):
    Grid(4, spacing)


def test_bad_supersamples():
  for s in (0, -1, 1.5):
    with pytest.raises(ValueError, match='supersample'):
      Grid(4, 0.5).refine(s)
  with pytest.raises(ValueError, match='multiple of 2'):
    grids.pool(jnp.zeros((4, 5, 4)), 2)
