"""Sums of Gaussians whose tail is a parabola that ends, as libmolgrid's.

With t the distance in standard deviations, a term is exp(-t^2/2) up to 2,
exp(-2) (3 - t)^2 up to 3, and 0 from there on: value and slope are continuous.
This is the density of atoms of Ragoza et al., J. Chem. Inf. Model. 57, 942
(2017), and the default of libmolgrid (github.com/gnina/libmolgrid,
src/grid_maker.cpp), where two standard deviations are called a radius.

No factors of x, y and z make the tail, and so no matrix product makes a sum.
`splat_grid` adds up all atoms at every voxel; `gaussians_windowed` adds each
atom to the voxels near it. `splat_points` is the reference.

Written for one molecule, as `gaussians` is.
"""

import math

import jax
import jax.numpy as jnp

from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.kernels.numerics import HIGHEST

# Standard deviations at which the tail begins and ends.
BEGIN, END = 2.0, 3.0


def profile(t2: jax.Array) -> jax.Array:
  """Computes the truncated Gaussian of peak 1.

  Args:
    t2: squared distances in standard deviations, any shape.

  Returns:
    Values of the same shape, 1 to 0. Derivatives are finite everywhere.
  """
  return jnp.where(t2 <= BEGIN**2, jnp.exp(-t2 / 2), tail(t2))


def tail(t2: jax.Array) -> jax.Array:
  """Computes the parabola of `profile`, which holds beyond `BEGIN`.

  Args:
    t2: squared distances in standard deviations, any shape.

  Returns:
    Values of the same shape; 0 beyond `END`, and where `profile` is the
    Gaussian the value at `BEGIN`.
  """
  # The root of no t2 below BEGIN^2: its derivative is infinite at 0.
  t = jnp.sqrt(jnp.clip(t2, BEGIN**2, END**2))
  return math.exp(-(BEGIN**2) / 2) * (END - t) ** 2


def splat_points(
  points_G3: jax.Array,
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
) -> jax.Array:
  """Sums truncated Gaussians, point by point.

  Args:
    points_G3: Å.
    coords_A3: centres, Å.
    weights_AC: integral, in each channel, of each centre's Gaussian before it
      is truncated.
    sigma_A: standard deviations before that, Å, above 0.

  Returns:
    values_GC, weights per Å^3.

  Raises:
    ValueError: a shape does not fit.
  """
  return gaussians.splat_profile(
    lambda d2_A, sigma_A: profile(d2_A / sigma_A**2),
    points_G3,
    coords_A3,
    weights_AC,
    sigma_A,
  )


def splat_grid(
  coords_A3: jax.Array,
  weights_AC: jax.Array,
  sigma_A: jax.Array,
  grid: Grid,
  supersample: int = 1,
) -> jax.Array:
  """Sums truncated Gaussians on a grid, one layer of voxels after the other.

  Args:
    coords_A3: centres, Å.
    weights_AC: as in `splat_points`.
    sigma_A: standard deviations before the truncation, Å, above 0.
    grid: voxels.
    supersample: values are means over this many sub-points along each edge.

  Returns:
    vox_XYZC, weights per Å^3.

  Raises:
    ValueError: a shape does not fit.
  """
  gaussians.check_terms(coords_A3, weights_AC, sigma_A)
  n, s = grid.size, supersample
  peaks_AC = weights_AC / gaussians.peak_to_integral(sigma_A)[:, None]
  t2_3XA = (gaussians.offsets(coords_A3, grid, s) / sigma_A[None, None]) ** 2
  x, y, z = (t2_XA.reshape(n, s, -1) for t2_XA in t2_3XA)
  yz_YSZSA = y[:, :, None, None] + z[None, None]

  # Derivatives compute a layer again: all of them would fill the memory.
  @jax.checkpoint
  def layer(x_SA):
    t2_SYSZSA = x_SA[:, None, None, None, None] + yz_YSZSA[None]
    values_YZA = jnp.mean(profile(t2_SYSZSA), axis=(0, 2, 4))
    return jnp.einsum('yza,ac->yzc', values_YZA, peaks_AC, precision=HIGHEST)

  return jax.lax.map(layer, x)
