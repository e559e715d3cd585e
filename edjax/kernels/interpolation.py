"""Sampling of a density map at points: tricubic interpolation.

By Catmull-Rom splines (E. Catmull, R. Rom, in Computer Aided Geometric Design,
1974, p. 317), the formula of gemmi's tricubic interpolation: they pass through
the map's values, reproduce quadratics, have a continuous gradient and need 4^3
values, so that there is no prefilter whose ringing would reach across the edge
of a map. In the outermost cells the edge values stand for the missing ones, so
that what lies beyond is not taken for 0.

Outside, the result is 0, with a step at the edge.
"""

import jax
import jax.numpy as jnp

from edjax import arguments
from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import DensityMap

# A point on the edge may be rounded to just outside: the indices of points
# 50 Å from the origin are good to about 1e-5 steps in float32.
_EDGE = 1e-3


def map_indices(density_map: DensityMap, points_G3: jax.Array) -> jax.Array:
  """Returns fractional indices of points in a map (values sit at integers).

  Args:
    density_map: the map; its steps need not be orthogonal.
    points_G3: Å.

  Returns:
    [G, 3].

  Raises:
    ValueError: a shape does not fit.
  """
  points_G3 = arguments.array('points_G3', points_G3, ('G', 3))
  if density_map.values_XYZ.ndim != 3:
    raise ValueError(
      f'a map must be [X, Y, Z], not {density_map.values_XYZ.shape}'
    )
  # Reciprocal vectors: the columns of the inverse of the matrix of steps.
  a, b, c = density_map.steps_33
  crosses = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)])
  inverse_33 = crosses / jnp.sum(a * crosses[0])
  points_G3 = jnp.asarray(points_G3, density_map.origin_3.dtype)
  relative_G3 = points_G3 - density_map.origin_3[None, :]
  return jnp.einsum('gi,ni->gn', relative_G3, inverse_33, precision=HIGHEST)


def sample(density_map: DensityMap, points_G3: jax.Array) -> jax.Array:
  """Samples the map; differentiable in the points and in the map's frame.

  Args:
    density_map: the map.
    points_G3: Å.

  Returns:
    [G], the map's unit; 0 outside.

  Raises:
    ValueError: a shape does not fit.
  """
  values_XYZ = density_map.values_XYZ
  index_G3 = map_indices(density_map, points_G3)
  last_3 = jnp.asarray(values_XYZ.shape, index_G3.dtype)[None, :] - 1
  inside_G3 = (index_G3 >= -_EDGE) & (index_G3 <= last_3 + _EDGE)
  inside_G = jnp.all(inside_G3, axis=1)
  # Before the weights: powers of far indices overflow, and so would slopes.
  index_G3 = jnp.where(inside_G[:, None], index_G3, 0)
  # The cell's lower corner; the last value belongs to the last cell.
  floor_G3 = jnp.clip(jnp.floor(index_G3), 0, jnp.maximum(last_3 - 1, 0))
  weights_G3W = _catmull_rom(index_G3 - floor_G3)

  # Indices of the W taps along each axis, shaped to span [G, W, W, W].
  first_G3 = floor_G3.astype(jnp.int32) - 1
  taps_G3W = first_G3[:, :, None] + jnp.arange(4)[None, None, :]
  taps_G3W = jnp.clip(taps_G3W, 0, last_3.astype(jnp.int32)[:, :, None])
  x, y, z = _spread(taps_G3W)
  wx, wy, wz = _spread(weights_G3W)
  sums_G = jnp.sum(values_XYZ[x, y, z] * (wx * wy * wz), axis=(1, 2, 3))
  return jnp.where(inside_G, sums_G, 0)


def sample_grid(
  density_map: DensityMap, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Returns the map at voxel centres, or its means over sub-points.

  Args:
    density_map: the map.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.

  Returns:
    [X, Y, Z], the map's unit; 0 outside.

  Raises:
    ValueError: a shape does not fit.
  """
  fine = grid.refine(supersample)
  values_G = sample(density_map, grids.centres(fine))
  return grids.pool(values_G.reshape((fine.size,) * 3), supersample)


def _spread(values_G3W: jax.Array) -> tuple[jax.Array, ...]:
  """Returns rows as [G, W, 1, 1], [G, 1, W, 1] and [G, 1, 1, W]."""
  return (
    values_G3W[:, 0, :, None, None],
    values_G3W[:, 1, None, :, None],
    values_G3W[:, 2, None, None, :],
  )


def _catmull_rom(u: jax.Array) -> jax.Array:
  """Weights of the values at -1, 0, 1, 2 for a position u in [0, 1]."""
  return jnp.stack(
    [
      ((2 - u) * u - 1) * u / 2,
      ((3 * u - 5) * u * u + 2) / 2,
      ((4 - 3 * u) * u + 1) * u / 2,
      (u - 1) * u * u / 2,
    ],
    axis=-1,
  )
