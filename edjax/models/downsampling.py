"""Steps from a grid to a coarser one: blocks as channels, means, maximum."""

import functools
import itertools

import jax
import jax.numpy as jnp


def space_to_depth(vox_BXYZC: jax.Array, block: int) -> jax.Array:
  """Turns blocks of voxels into channels.

  Args:
    vox_BXYZC: edges are multiples of `block`.
    block: voxels along an edge of a block.

  Returns:
    Shape (batch, x / block, y / block, z / block, block^3 * channels).
  """
  if block == 1:
    return vox_BXYZC
  batch, nx, ny, nz, channels = vox_BXYZC.shape
  x = vox_BXYZC.reshape(
    batch, nx // block, block, ny // block, block, nz // block, block, channels
  ).transpose(0, 1, 3, 5, 2, 4, 6, 7)
  return x.reshape(*x.shape[:4], -1)


def mean_pool(x_BXYZC: jax.Array) -> jax.Array:
  """Returns twice the mean over blocks of 2^3 voxels.

  This doubles values that hardly vary in a block and leaves two thirds of the
  size of independent ones; without the factor deep stages would be silent.

  Args:
    x_BXYZC: edges are even.

  Returns:
    Shape (batch, x / 2, y / 2, z / 2, channels).
  """
  return sum(_corners(x_BXYZC)) / 4


@jax.custom_vjp
def max_pool(x_BXYZC: jax.Array) -> jax.Array:
  """Returns the maximum over blocks of 2^3 voxels, without a last odd voxel.

  Voxels that share the maximum share its gradient, as with `jnp.max`. Written
  out voxel by voxel, with its gradient: those of a reduction, and of a window
  even more, take four times as long on CPU. Reverse mode only.

  Args:
    x_BXYZC: at least two voxels along each axis.

  Returns:
    Shape (batch, x // 2, y // 2, z // 2, channels).
  """
  return functools.reduce(jnp.maximum, _corners(x_BXYZC))


def _corners(x_BXYZC):
  """Returns the eight voxels of each block, as eight grids."""
  nx, ny, nz = (n - n % 2 for n in x_BXYZC.shape[1:4])
  return [
    x_BXYZC[:, i:nx:2, j:ny:2, k:nz:2]
    for i, j, k in itertools.product((0, 1), repeat=3)
  ]


def _max_pool_forward(x_BXYZC):
  out = max_pool(x_BXYZC)
  return out, (x_BXYZC, out)


def _max_pool_backward(residuals, grad):
  x_BXYZC, out = residuals
  equal = sum((c == out).astype(grad.dtype) for c in _corners(x_BXYZC))
  odd = [n % 2 for n in x_BXYZC.shape[1:4]]

  def spread(a_BXYZC):
    batch, nx, ny, nz, channels = a_BXYZC.shape
    blocks = jnp.broadcast_to(
      a_BXYZC[:, :, None, :, None, :, None, :],
      (batch, nx, 2, ny, 2, nz, 2, channels),
    )
    blocks = blocks.reshape(batch, 2 * nx, 2 * ny, 2 * nz, channels)
    return jnp.pad(blocks, [(0, 0), *((0, n) for n in odd), (0, 0)])

  return (jnp.where(x_BXYZC == spread(out), spread(grad / equal), 0),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)
