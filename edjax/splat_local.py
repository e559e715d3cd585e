"""The sum of `splat.splat_grid` over tiles that see only the atoms near them.

A Gaussian that is narrow against the box contributes to few voxels: of the
thousand atoms around a ligand a tile of 8^3 voxels sees one in ten. Each tile
gathers its atoms into a fixed number of places and is a small matrix product.
The number of places comes from how densely atoms can be packed; a molecule
that is denser still is evaluated in full, so that no atom is lost.

Pays on CPUs, where one molecule is evaluated at a time; an accelerator that
maps over a batch would compute both branches.
"""

import math

import jax
import jax.numpy as jnp

from edjax import splat
from edjax.grid import Grid

TILE = 8
# In standard deviations: there a Gaussian is 9e-8 of its peak, the rounding of
# float32.
_REACH = 5.7
# Atoms per Å^3 that a tile has places for. Ice has 0.092, diamond 0.176,
# proteins without hydrogens 0.05 on average.
_DENSITY = 0.12


def places(grid: Grid, sigma: float) -> int:
  """How many atoms a tile has room for.

  Args:
    grid: voxels.
    sigma: standard deviation of the Gaussians, Å.
  """
  edge = TILE * grid.spacing + 2 * _REACH * sigma
  return 16 * math.ceil(_DENSITY * edge**3 / 16)


def pays(n_atoms: int, grid: Grid, sigma: float) -> bool:
  """Whether tiles are less work than the whole product."""
  return grid.size % TILE == 0 and 2 * places(grid, sigma) <= n_atoms


def splat_grid(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma: float,
  grid: Grid,
  supersample: int = 1,
) -> jax.Array:
  """Sum of Gaussians of unit integral and one width, by tiles.

  Args:
    coords_A3: centres, Å.
    weights_AC: integral of each centre's Gaussian in each channel.
    sigma: standard deviation, Å, above 0.
    grid: voxels; its size is a multiple of TILE.
    supersample: as in `splat.splat_grid`.

  Returns:
    vox_XYZC as `splat.splat_grid` gives them, within the rounding of float32
    against the peak.

  Raises:
    ValueError: the grid cannot be cut into tiles.
  """
  if grid.size % TILE:
    raise ValueError(f'grid.size={grid.size} is no multiple of {TILE}')
  n_atoms = len(coords_A3)
  count = min(places(grid, sigma), n_atoms)
  sigma_A = jnp.full(n_atoms, sigma, coords_A3.dtype)
  lines_3XA = splat.lines(coords_A3, sigma_A, grid, supersample)
  near_3MA = _near(coords_A3, grid, sigma)
  present_A = jnp.any(weights_AC != 0, axis=1)
  x, y, z = near_3MA.astype(coords_A3.dtype)
  seen_MMM = jnp.einsum(
    'xa,ya,za->xyz', x * present_A[None, :], y, z, precision=splat.HIGHEST
  )

  def whole():
    return splat.product(*lines_3XA, weights_AC)

  def tiled():
    return _tiled(lines_3XA, weights_AC, near_3MA, present_A, count)

  return jax.lax.cond(jnp.max(seen_MMM) <= count, tiled, whole)


def _near(coords_A3, grid: Grid, sigma: float) -> jax.Array:
  """Which atoms reach which slice of tiles along each axis: bool [3, M, A]."""
  tiles = grid.size // TILE
  edge = TILE * grid.spacing
  middle_M = (jnp.arange(tiles) - (tiles - 1) / 2) * edge
  middle_M = middle_M.astype(coords_A3.dtype)
  distance = jnp.abs(coords_A3.T[:, None, :] - middle_M[None, :, None])
  return distance <= edge / 2 + _REACH * sigma


def _tiled(lines_3XA, weights_AC, near_3MA, present_A, count: int):
  tiles, n_atoms = near_3MA.shape[1:]
  channels = weights_AC.shape[1]
  # Row n_atoms is what empty places point to.
  weights_AC = jnp.pad(weights_AC, ((0, 1), (0, 0)))
  lines_3AX = jnp.pad(jnp.swapaxes(lines_3XA, 1, 2), ((0, 0), (0, 1), (0, 0)))
  lines_3AMT = lines_3AX.reshape(3, n_atoms + 1, tiles, TILE)

  def tile(place_3):
    i, j, k = place_3
    seen_A = near_3MA[0, i] & near_3MA[1, j] & near_3MA[2, k] & present_A
    chosen = jnp.nonzero(seen_A, size=count, fill_value=n_atoms)[0]
    factors = [
      lines_3AMT[axis, :, at][chosen].T for axis, at in enumerate((i, j, k))
    ]
    return splat.product(*factors, weights_AC[chosen])

  steps = jnp.arange(tiles)
  places_N3 = jnp.stack(
    jnp.meshgrid(steps, steps, steps, indexing='ij'), axis=-1
  ).reshape(-1, 3)
  vox = jax.lax.map(tile, places_N3)
  vox = vox.reshape(tiles, tiles, tiles, TILE, TILE, TILE, channels)
  vox = vox.transpose(0, 3, 1, 4, 2, 5, 6)
  size = tiles * TILE
  return vox.reshape(size, size, size, channels)
