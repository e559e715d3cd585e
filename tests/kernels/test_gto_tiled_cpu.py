"""Leaving out what is far changes nothing beyond rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.grid import Grid
from edjax.kernels import (
  gto_dense,
  gto_functions,
  gto_screening,
  gto_tiled_cpu,
)
from edjax.molecule import Molecule

ATOMS, ORBITALS = 30, 12  # half of the atoms may have p functions


@functools.cache
def _chain():
  """A bent chain of 14 heavy atoms over 11 Å, and hydrogens; no chemistry."""
  rng = np.random.default_rng(4)
  along = np.arange(14) - 6.5
  heavy = np.stack([0.85 * along, np.cos(along), 0.05 * along**2 - 1], 1)
  coords = np.concatenate([heavy, heavy[::2] + np.array([0, 0.9, 0.5])])
  numbers = [6, 7, 8, 6, 6, 9, 6, 6, 8, 6, 7, 6, 6, 6] + [1] * 7
  orbs = rng.normal(size=(10, 21, 4))
  orbs[:, 3, 2] = 0  # a function that no orbital uses
  mol = Molecule.from_arrays(
    numbers, coords, orbs, max_atoms=ATOMS, max_orbitals=ORBITALS
  )
  return mol.numbers_A, mol.coords_A3, mol.orbitals_OL9


def _largest_error(values, expected):
  return float(jnp.max(jnp.abs(values - expected)) / jnp.max(jnp.abs(expected)))


@pytest.mark.parametrize(
  ('grid', 'supersample'),
  [
    (Grid(24, 0.5), 1),  # tiles of 6 points, and of 8
    (Grid(32, 0.4), 1),  # tiles of 8 points
    (Grid(22, 0.55), 1),  # the last tiles stick out
    (Grid(13, 1.0), 2),  # the same, of 3 voxels; most are empty
    (Grid(4, 1.2), 9),  # a voxel is a tile
    (Grid(16, 0.3), 1),  # inside of the molecule
  ],
)
def test_tiles_equal_slabs(grid, supersample):
  tiled = functools.partial(gto_tiled_cpu.density, grid, supersample)
  values = jax.jit(tiled)(*_chain())
  slabs = functools.partial(gto_dense.density_means, grid, supersample)
  expected = jax.jit(slabs)(*_chain())
  assert values.shape == (grid.size,) * 3
  assert _largest_error(values, expected) < 1e-6
  assert float(jnp.min(values)) >= 0


def _screened(grid):
  cut = gto_tiled_cpu.value_cut(grid, 1)
  room, _ = gto_functions.rooms(_chain()[2])
  assert gto_functions.holds(room, _chain()[0])
  rows = gto_functions.gather(room, *_chain())
  lines = gto_screening.tables(grid, cut, rows)
  return gto_screening.screen(cut, rows, lines, gto_tiled_cpu.SIZES)


def test_every_size_is_used():
  """So that the comparisons above see them all."""
  seen = set()
  for grid in (Grid(24, 0.5), Grid(22, 0.55)):
    tiles = _screened(grid)
    seen |= set(np.asarray(tiles.sizes_T).tolist())
    count_T = np.asarray(tiles.ranks_TK)[:, -1]
    assert (count_T <= np.array(tiles.sizes)[tiles.sizes_T]).all()
  assert seen == set(range(len(tiles.sizes)))


def test_leaving_out_more_shows(monkeypatch):
  """A limit a thousand times as high is not hidden by the tolerance."""
  monkeypatch.setattr(gto_screening, '_NEGLIGIBLE', 2500.0)
  # A grid of this test alone, as JAX keeps what it has traced.
  grid = Grid(40, 0.51)
  values = gto_tiled_cpu.density(grid, 1, *_chain())
  error = _largest_error(values, gto_dense.density_means(grid, 1, *_chain()))
  assert 1e-5 < error < 1e-2


@pytest.mark.parametrize('supersample', [1, 2])
def test_derivatives_equal_those_of_slabs(supersample):
  """Along all atoms and coefficients, forwards and backwards."""
  grid = Grid(16, 0.6)
  numbers, *place = _chain()
  keys = jax.random.split(jax.random.key(0), 3)
  along = [jax.random.normal(keys[0], place[0].shape),
           jax.random.normal(keys[1], place[1].shape)]  # fmt: skip
  weights = jax.random.normal(keys[2], (16,) * 3)

  @functools.partial(jax.jit, static_argnums=0)
  def derivatives(of, place, along):
    f = functools.partial(of, grid, supersample, numbers)
    _, slope = jax.jvp(f, place, along)
    return slope, jax.grad(lambda *p: jnp.sum(weights * f(*p)), argnums=(0, 1))(
      *place
    )

  args = tuple(place), tuple(along)
  found = derivatives(gto_tiled_cpu.density, *args)
  expected = derivatives(gto_dense.density_means, *args)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    assert _largest_error(one, other) < 3e-6
  # The function that no orbital uses has a slope.
  assert float(jnp.max(jnp.abs(found[1][1][:, 3, 2]))) > 1e-2


def test_the_smaller_product_is_not_negative():
  """Squares one orbital at points where it is 0 but for rounding."""
  rng = np.random.default_rng(0)
  u_J, v_O = rng.normal(size=8), rng.normal(size=24)
  ao_JG = rng.normal(size=(8, 500))
  ao_JG -= np.outer(u_J, u_J @ ao_JG) / (u_J @ u_J)
  c_JO, ao_JG = jnp.float32(np.outer(u_J, v_O)), jnp.float32(ao_JG)
  bare_G = jnp.sum(ao_JG * gto_tiled_cpu.with_density_matrix(c_JO, ao_JG), 0)
  assert float(jnp.min(bare_G)) < 0
  rho_G = gto_tiled_cpu.squares(c_JO, ao_JG)
  assert float(jnp.min(rho_G)) == 0
  size = float(jnp.sum(c_JO**2) * jnp.max(jnp.sum(ao_JG**2, 0)))
  assert float(jnp.max(rho_G)) < 1e-6 * size
  # More functions than orbitals: the other product, the same numbers.
  ao_JG = jnp.float32(rng.normal(size=(8, 500)))
  wide = gto_tiled_cpu.squares(c_JO, ao_JG)
  narrow = gto_tiled_cpu.squares(jnp.float32(u_J)[:, None], ao_JG)
  expected = (v_O @ v_O) * narrow
  np.testing.assert_allclose(wide, expected, atol=1e-5 * expected.max())
  squares_G = (v_O @ v_O) * (u_J @ np.asarray(ao_JG, float)) ** 2
  np.testing.assert_allclose(wide, squares_G, atol=1e-5 * squares_G.max())
