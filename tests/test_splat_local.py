"""Sums by tiles against the whole product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import fields, splat, splat_local
from edjax.grid import Grid
from edjax.molecule import Molecule

GRID = Grid(16, 0.75)
SIGMA = 0.5


def atoms(n, half=7.0, seed=0):
  """Atoms in a cube about the origin, on and beyond the edges of the grid."""
  rng = np.random.default_rng(seed)
  coords_A3 = jnp.asarray(rng.uniform(-half, half, (n, 3)), jnp.float32)
  weights_AC = jnp.asarray(rng.uniform(-1, 1, (n, 3)), jnp.float32)
  return coords_A3, weights_AC


def both(coords_A3, weights_AC, supersample=1):
  sigma_A = jnp.full(len(coords_A3), SIGMA)
  args = GRID, supersample
  got = jax.jit(splat_local.splat_grid, static_argnums=(2, 3, 4))(
    coords_A3, weights_AC, SIGMA, *args
  )
  whole = jax.jit(splat.splat_grid, static_argnums=(3, 4))
  return np.asarray(got), np.asarray(
    whole(coords_A3, weights_AC, sigma_A, *args)
  )


@pytest.mark.parametrize('supersample', [1, 2])
def test_tiles_equal_the_whole(supersample):
  coords_A3, weights_AC = atoms(150)
  got, want = both(coords_A3, weights_AC, supersample)
  peak = np.abs(want).max()
  np.testing.assert_allclose(got, want, atol=1e-6 * peak)
  # Atoms on the boundary of tiles are seen by all of their neighbours.
  edge = jnp.array([[0.0, 0, 0], [0.0, 3.0, -3.0], [6.0, 6.0, 6.0]])
  got, want = both(edge, weights_AC[:3], supersample)
  np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())


def test_more_atoms_than_a_tile_has_places_for():
  """A hundred times denser than matter: the whole product steps in."""
  count = splat_local.places(GRID, SIGMA)
  coords_A3, weights_AC = atoms(2 * count, half=1.0)
  got, want = both(coords_A3, weights_AC)
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())
  # What the tiles alone would have left out is not small.
  near = jnp.ones((3, 2, 2 * count), bool)
  lines_3XA = splat.lines(coords_A3, jnp.full(2 * count, SIGMA), GRID)
  present = jnp.ones(2 * count, bool)
  lost = splat_local._tiled(lines_3XA, weights_AC, near, present, count)
  assert np.abs(lost - want).max() > 0.1 * np.abs(want).max()


def test_coordinate_gradients_are_those_of_the_whole():
  coords_A3, weights_AC = atoms(60)
  mask = jnp.asarray(np.random.default_rng(1).normal(size=(16, 16, 16, 3)))

  def loss(f):
    return jax.jit(jax.grad(lambda c: jnp.sum(f(c) * mask)))(coords_A3)

  sigma_A = jnp.full(60, SIGMA)
  got = loss(lambda c: splat_local.splat_grid(c, weights_AC, SIGMA, GRID))
  want = loss(lambda c: splat.splat_grid(c, weights_AC, sigma_A, GRID))
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_atom_types_of_a_pocket_use_tiles_and_are_the_same():
  grid = Grid(32, 0.75)
  rng = np.random.default_rng(2)
  n = 2 * splat_local.places(grid, fields.ATOM_WIDTH)
  coords = rng.uniform(-13, 13, (n, 3))
  numbers = rng.choice([6, 7, 8, 30], n)
  mol = Molecule.from_arrays(numbers, coords, max_atoms=n + 5, center=False)
  assert splat_local.pays(n + 5, grid, fields.ATOM_WIDTH)
  assert not splat_local.pays(n - 1, grid, fields.ATOM_WIDTH)
  # 36 is no multiple of the tiles
  assert not splat_local.pays(10 * n, Grid(36, 0.75), fields.ATOM_WIDTH)
  elements = ('C', 'N', 'O', 'metals')
  traced = jax.jit(
    fields.atoms_grid, static_argnums=(1,), static_argnames='elements'
  )
  text = str(jax.make_jaxpr(lambda m: fields.atoms_grid(m, grid))(mol))
  assert 'cond' in text
  got = traced(mol, grid, elements=elements)
  points_G3 = np.stack(
    np.meshgrid(*[(np.arange(32) - 15.5) * 0.75] * 3, indexing='ij'), -1
  ).reshape(-1, 3)[::37]
  want = fields.atoms(mol, points_G3, elements=elements)
  np.testing.assert_allclose(
    np.asarray(got).reshape(-1, 5)[::37], want, atol=2e-6
  )


def test_a_grid_that_cannot_be_cut_is_refused():
  with pytest.raises(ValueError, match='size=12 is no multiple of 8'):
    splat_local.splat_grid(*atoms(3), SIGMA, Grid(12, 1.0))
