"""Leaving out what is far changes nothing beyond rounding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import grid as grids
from edjax import orbital_grid, orbital_tiles
from edjax.grid import Grid
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


def _slabs(grid, supersample, *molecule):
  fine = orbital_grid.density(grid.refine(supersample), *molecule)
  return grids.pool(fine, supersample)


def _largest_error(values, expected):
  return float(jnp.max(jnp.abs(values - expected)) / jnp.max(jnp.abs(expected)))


@pytest.mark.parametrize(
  ('grid', 'supersample'),
  [
    (Grid(24, 0.5), 1),  # tiles of 8 points
    (Grid(22, 0.55), 1),  # the last tiles stick out
    (Grid(13, 1.0), 2),  # the same, of 3 voxels; most are empty
    (Grid(4, 1.2), 9),  # a voxel is a tile
    (Grid(16, 0.3), 1),  # inside of the molecule
  ],
)
def test_tiles_equal_slabs(grid, supersample):
  tiles = functools.partial(orbital_tiles.density, grid, supersample)
  values = jax.jit(tiles)(*_chain())
  expected = _slabs(grid, supersample, *_chain())
  assert values.shape == (grid.size,) * 3
  assert _largest_error(values, expected) < 1e-6
  assert float(jnp.min(values)) >= 0


def _screened(grid, supersample):
  cut = orbital_tiles._cut(grid, supersample)
  room, _ = orbital_grid.rooms(_chain()[2])
  assert orbital_grid.holds(room, _chain()[0])
  rows = orbital_grid.gather(room, *_chain())
  axis_X = orbital_tiles._points(grid, cut)
  tables = orbital_tiles._tables(cut, orbital_grid.lines(axis_X, rows))
  return orbital_tiles._screen(cut, rows, tables)


def test_every_size_is_used():
  """So that the comparisons above see them all."""
  seen = set()
  for grid in (Grid(24, 0.5), Grid(24, 1.0)):
    tiles = _screened(grid, 1)
    seen |= set(np.asarray(tiles.sizes_T).tolist())
    count_T = np.asarray(tiles.ranks_TK)[:, -1]
    assert (count_T <= np.array(tiles.sizes)[tiles.sizes_T]).all()
  assert seen == set(range(len(tiles.sizes)))


def test_leaving_out_more_shows(monkeypatch):
  """A limit a thousand times as high is not hidden by the tolerance."""
  monkeypatch.setattr(orbital_tiles, '_NEGLIGIBLE', 2500.0)
  grid = Grid(24, 0.5)
  values = orbital_tiles.density(grid, 1, *_chain())
  error = _largest_error(values, _slabs(grid, 1, *_chain()))
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
  def derivatives(form, place, along):
    f = functools.partial(form, grid, supersample, numbers)
    _, slope = jax.jvp(f, place, along)
    return slope, jax.grad(lambda *p: jnp.sum(weights * f(*p)), argnums=(0, 1))(
      *place
    )

  args = tuple(place), tuple(along)
  found = derivatives(orbital_tiles.density, *args)
  expected = derivatives(_slabs, *args)
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    assert _largest_error(one, other) < 3e-6
  # The function that no orbital uses has a slope.
  assert float(jnp.max(jnp.abs(found[1][1][:, 3, 2]))) > 1e-2
