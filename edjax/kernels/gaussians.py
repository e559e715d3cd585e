"""Sums of Gaussians about atoms, on points and, separably, on a grid.

A Gaussian on a regular grid is a product of three 1-D Gaussians, so that a
sum over atoms is one matrix product, [X*Y, A] times [A, Z*C]. The mean of a
product over a box of sub-points is the product of the 1-D means: they cost no
more matrix products than point values. `splat_points` is the same sum written
point by point: the reference.

Written for one molecule; a batch is `jax.vmap(lambda m: splat_grid(...))`, or
`numerics.batched` where memory or a CPU's cache matters. Atoms of several
Gaussians are flattened to one row per Gaussian. Rows of weight 0 (padding)
are inert in value and gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments
from edjax import grid as grids
from edjax.grid import Grid
from edjax.kernels.numerics import HIGHEST


def peak_to_integral(sigma_A: jax.Array) -> jax.Array:
  """Returns the integral of a Gaussian of peak 1: (2 pi)^1.5 sigma^3.

  A weight times this makes `splat_grid`, whose Gaussians hold 1, splat a
  Gaussian with that weight as its peak.

  Args:
    sigma_A: standard deviations, Å.

  Returns:
    [A], Å^3.
  """
  return (2 * np.pi) ** 1.5 * sigma_A**3


def splat_points(
  points_G3: jax.Array,
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
) -> jax.Array:
  """Sums Gaussians of unit integral, point by point.

  Args:
    points_G3: Å.
    coords_A3: centres, Å.
    weights_AC: integral of each centre's Gaussian in each channel.
    sigma_A: standard deviations, Å, above 0.

  Returns:
    values_GC, weights per Å^3.

  Raises:
    ValueError: a shape does not fit.
  """

  def profile(d2_A, sigma_A):
    return jnp.exp(-d2_A / (2 * sigma_A**2))

  return splat_profile(profile, points_G3, coords_A3, weights_AC, sigma_A)


def splat_profile(
  profile: Callable[[jax.Array, jax.Array], jax.Array],
  points_G3: jax.Array,
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
) -> jax.Array:
  """Sums radial functions, point by point.

  Args:
    profile: (squared distances in Å^2, sigma_A) -> values_A, 1 at the centre.
    points_G3: Å.
    coords_A3: centres, Å.
    weights_AC: integral, in each channel, of the Gaussian with each centre's
      peak and standard deviation.
    sigma_A: standard deviations, Å, above 0.

  Returns:
    values_GC, weights per Å^3.

  Raises:
    ValueError: a shape does not fit.
  """
  check_terms(coords_A3, weights_AC, sigma_A)
  points_G3 = arguments.array('points_G3', points_G3, ('G', 3))
  peaks_AC = weights_AC / peak_to_integral(sigma_A)[:, None]

  def at(point_3):
    d2_A = jnp.sum((point_3[None, :] - coords_A3) ** 2, axis=1)
    values_A = profile(d2_A, sigma_A)
    return jnp.einsum('a,ac->c', values_A, peaks_AC, precision=HIGHEST)

  return jax.vmap(at)(jnp.asarray(points_G3, coords_A3.dtype))


def splat_grid(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
) -> jax.Array:
  """Sums Gaussians of unit integral on a grid, as one matrix product.

  Args:
    coords_A3: centres, Å.
    weights_AC: integral of each centre's Gaussian in each channel.
    sigma_A: standard deviations, Å, above 0.
    grid: voxels.
    supersample: values are means over this many sub-points along each edge.

  Returns:
    vox_XYZC, weights per Å^3.

  Raises:
    ValueError: a shape does not fit.
  """
  check_terms(coords_A3, weights_AC, sigma_A)
  lines_3XA = lines(coords_A3, sigma_A, grid, supersample)
  return product(lines_3XA[0], lines_3XA[1], lines_3XA[2], weights_AC)


def splat_grid_and_gradient(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
) -> tuple[jax.Array, jax.Array]:
  """Returns `splat_grid` and its gradient, in the time of four of it.

  The gradient of a product of 1-D factors has the derivative of one factor at
  a time, which automatic differentiation of that factor gives. Forward mode
  through the whole sum takes the time of eight.

  Args:
    coords_A3: centres, Å.
    weights_AC: integral of each centre's Gaussian in each channel.
    sigma_A: standard deviations, Å, above 0.
    grid: voxels.
    supersample: values are means over this many sub-points along each edge.

  Returns:
    vox_XYZC, and its derivatives along x, y and z with respect to a shift of
    all centres, [3, X, Y, Z, C] (minus the gradient in space; the same
    length).

  Raises:
    ValueError: a shape does not fit.
  """
  check_terms(coords_A3, weights_AC, sigma_A)

  def factors(shift):
    return lines(coords_A3 + shift, sigma_A, grid, supersample)

  one = jnp.ones((), coords_A3.dtype)
  lines_3XA, slopes_3XA = jax.jvp(factors, (0 * one,), (one,))
  x, y, z = lines_3XA
  dx, dy, dz = slopes_3XA
  # Value and z derivative share their products along x and y.
  pair_XYZC = product(x, y, jnp.concatenate([z, dz]), weights_AC)
  vox_XYZC, along_z = jnp.split(pair_XYZC, 2, axis=2)
  along_x = product(dx, y, z, weights_AC)
  along_y = product(x, dy, z, weights_AC)
  return vox_XYZC, jnp.stack([along_x, along_y, along_z])


def lines(
  coords_A3: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
) -> jax.Array:
  """Returns 1-D Gaussians of unit integral along the three axes of a grid.

  Args:
    coords_A3: centres, Å.
    sigma_A: standard deviations, Å.
    grid: voxels.
    supersample: sub-points along each edge.

  Returns:
    lines_3XA, 1/Å.
  """
  dtype = coords_A3.dtype
  d2_3XA = offsets(coords_A3, grid, supersample) ** 2
  scale_A = 1 / (np.sqrt(2 * np.pi).astype(dtype) * sigma_A)
  values_3XA = scale_A[None, None, :] * jnp.exp(
    -d2_3XA * (0.5 / sigma_A**2)[None, None, :]
  )
  return pool_lines(values_3XA, supersample)


def offsets(coords_A3: jax.Array, grid: Grid, supersample: int = 1):
  """Returns coordinates of sub-points relative to the atoms, Å: [3, sX, A]."""
  x_X = grids.axis(grid.refine(supersample))
  x_X = jnp.asarray(x_X, coords_A3.dtype)
  return x_X[None, :, None] - coords_A3.T[:, None, :]


def pool_lines(lines_3XA: jax.Array, supersample: int) -> jax.Array:
  """Averages 1-D factors over the sub-points of each voxel: [3, X, A]."""
  if supersample == 1:
    return lines_3XA
  _, x, a = lines_3XA.shape
  parts = lines_3XA.reshape(3, x // supersample, supersample, a)
  return jnp.mean(parts, axis=2)


def product(
  x_XA: jax.Array, y_YA: jax.Array, z_ZA: jax.Array, weights_AC: jax.Array
) -> jax.Array:
  """Computes sum_A x_XA y_YA z_ZA weights_AC as one matrix product.

  Args:
    x_XA: factors along x.
    y_YA: factors along y.
    z_ZA: factors along z.
    weights_AC: weights per channel.

  Returns:
    vox_XYZC.
  """
  nx, n_atoms = x_XA.shape
  ny, nz, channels = len(y_YA), len(z_ZA), weights_AC.shape[1]
  xy = (x_XA[:, None, :] * y_YA[None, :, :]).reshape(nx * ny, n_atoms)
  zc = z_ZA.T[:, :, None] * weights_AC[:, None, :]
  zc = zc.reshape(n_atoms, nz * channels)
  vox = jnp.matmul(xy, zc, precision=HIGHEST)
  return vox.reshape(nx, ny, nz, channels)


def check_terms(coords_A3, weights_AC, sigma_A) -> None:
  """Refuses terms whose shapes do not fit.

  Raises:
    ValueError: they are not [A, 3], [A, C] and [A].
  """
  if coords_A3.ndim != 2 or coords_A3.shape[1] != 3:
    raise ValueError(f'coords must be [A, 3], not {coords_A3.shape}')
  n = coords_A3.shape[0]
  if weights_AC.ndim != 2 or weights_AC.shape[0] != n:
    raise ValueError(f'weights must be [{n}, C], not {weights_AC.shape}')
  if sigma_A.shape != (n,):
    raise ValueError(f'sigma must be [{n}], not {sigma_A.shape}')
