"""3-D convolution whose kernel has one weight per orbit of its offsets.

Offsets that the 48 symmetries of a cube exchange share a weight. The sum of the
input over an orbit is the same for all weights, and it is made of sums of pairs
along one axis after another: a kernel of 3^3 is 4 matrix products of sums
instead of 27 of voxels. Sums over orbits are their own transpose where voxels
are not made coarser, so that both gradients come from the sums of the output's
gradient.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax


def orbits(size: int) -> np.ndarray:
  """Returns the number of the orbit of each offset of a cubic kernel.

  Args:
    size: voxels along an edge of the kernel.

  Returns:
    orbit_XYZ; the orbits are in ascending order of their sorted distances from
    the centre along the axes. For size 3: centre, faces, edges, corners.
  """
  distance = np.abs(2 * np.arange(size) - (size - 1))
  offsets_3XYZ = np.stack(np.meshgrid(*(distance,) * 3, indexing='ij'))
  sorted_N3 = np.sort(offsets_3XYZ.reshape(3, -1).T, axis=1)
  _, orbit_N = np.unique(sorted_N3, axis=0, return_inverse=True)
  return orbit_N.reshape((size,) * 3)


@functools.lru_cache
def orbit_sizes(size: int) -> np.ndarray:
  """Returns how many offsets each orbit of a cubic kernel has, float32."""
  return np.bincount(orbits(size).ravel()).astype(np.float32)


def orbit_sums(x_BXYZC: jax.Array, block: int = 1) -> list[jax.Array]:
  """Returns sums over each orbit of the 3^3 blocks around a block of voxels.

  Args:
    x_BXYZC: values; edges are multiples of `block`. Outside the grid they are
      zero.
    block: edge of a block; 1: each voxel is one.

  Returns:
    One array per orbit of a kernel of size 3 * block, in the order of `orbits`,
    with one voxel per block.

  Raises:
    ValueError: for edges that are no multiples of block.
  """
  if any(n % block for n in x_BXYZC.shape[1:4]):
    raise ValueError(
      f'a grid of {x_BXYZC.shape[1:4]} voxels cannot be cut into blocks of '
      f'{block}^3.'
    )
  along_z = _by_distance(x_BXYZC, 3, block)
  distances = range(len(along_z))
  along_y = [_by_distance(x, 2, block) for x in along_z]
  pairs = {
    (i, j): along_y[i][j] if i == j else along_y[i][j] + along_y[j][i]
    for i, j in itertools.combinations_with_replacement(distances, 2)
  }
  along_x = {pair: _by_distance(x, 1, block) for pair, x in pairs.items()}
  sums = []
  for orbit in itertools.combinations_with_replacement(distances, 3):
    # Each of the orbit's distances may be the one along x.
    parts = []
    for k in sorted(set(orbit)):
      pair = list(orbit)
      pair.remove(k)
      parts.append(along_x[tuple(pair)][k])
    sums.append(sum(parts))
  return sums


def _by_distance(x, axis: int, block: int) -> list[jax.Array]:
  """Returns sums of voxels at one distance along an axis, nearest first."""
  size, n = 3 * block, x.shape[axis] // block
  padding = [(block, block) if i == axis else (0, 0) for i in range(x.ndim)]
  padded = jnp.pad(x, padding)

  def at(offset):
    end = offset + block * (n - 1) + 1
    return lax.slice_in_dim(padded, offset, end, block, axis)

  middle = (size - 1) // 2
  nearest = [] if size % 2 == 0 else [at(middle)]
  first = middle if size % 2 == 0 else middle - 1
  return nearest + [at(i) + at(size - 1 - i) for i in range(first, -1, -1)]


def isotropic_conv(
  x_BXYZC: jax.Array, kernel_NCF: jax.Array, block: int = 1
) -> jax.Array:
  """Convolves with a kernel that has one weight per orbit.

  Args:
    x_BXYZC: values; edges are multiples of `block`.
    kernel_NCF: of each orbit, in the order of `orbits`, the weight of the mean
      over its offsets.
    block: edge of the blocks of voxels of which the output has one each.

  Returns:
    out_BXYZF in the dtype of x; sums and products are in at least float32.

  Raises:
    ValueError: for edges that are no multiples of block.
  """
  compute = jnp.promote_types(x_BXYZC.dtype, jnp.float32)
  sizes_N11 = orbit_sizes(3 * block).reshape(-1, 1, 1)
  shares_NCF = kernel_NCF.astype(compute) / sizes_N11.astype(compute)
  if block > 1:  # another transpose, and few channels to lose time on
    return _sum_of_products(_sums(x_BXYZC, block), shares_NCF)
  return _unit_stride(x_BXYZC, shares_NCF)


def _sums(x_BXYZC, block=1):
  wide = jnp.promote_types(x_BXYZC.dtype, jnp.float32)
  sums = orbit_sums(x_BXYZC.astype(wide), block)
  return [s.astype(x_BXYZC.dtype) for s in sums]


def _sum_of_products(sums_NBXYZC, shares_NCF):
  dtype = sums_NBXYZC[0].dtype
  parts = [
    jnp.dot(x, w.astype(dtype), preferred_element_type=w.dtype)
    for x, w in zip(sums_NBXYZC, shares_NCF, strict=True)
  ]
  return sum(parts).astype(dtype)


@jax.custom_vjp
def _unit_stride(x_BXYZC, shares_NCF):
  return _sum_of_products(_sums(x_BXYZC), shares_NCF)


def _unit_stride_forward(x_BXYZC, shares_NCF):
  return _unit_stride(x_BXYZC, shares_NCF), (x_BXYZC, shares_NCF)


def _unit_stride_backward(residuals, grad_BXYZF):
  x_BXYZC, shares_NCF = residuals
  sums_NBXYZF = _sums(grad_BXYZF)
  grad_x = _sum_of_products(sums_NBXYZF, shares_NCF.swapaxes(1, 2))
  grad_shares = [
    jnp.einsum(
      'bxyzc,bxyzf->cf', x_BXYZC, s, preferred_element_type=shares_NCF.dtype
    )
    for s in sums_NBXYZF
  ]
  return grad_x, jnp.stack(grad_shares)


_unit_stride.defvjp(_unit_stride_forward, _unit_stride_backward)


class IsotropicConv3D(nn.Module):
  """A convolution that commutes with the 48 symmetries of a cube.

  All offsets of 3^3 blocks that such a motion exchanges share one weight, as in
  SchNet's filters of the distance alone (Schuett et al. 2017, arXiv
  1706.08566): the kernel sees how far something is, not in which direction, and
  has 4 weights where one of 3^3 has 27 (blocks of 2^3: 10 where it has 216). A
  parameter belongs to the mean over its offsets, so that each orbit counts as
  much at the start. At the start an input that hardly varies over the kernel
  keeps its size.

  Attributes:
    features: channels out.
    block: edge of the blocks of voxels of which the output has one each.
    dtype: of the computation and the output.
  """

  features: int
  block: int = 1
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns shape (batch, x / block, y / block, z / block, features)."""
    channels, count = x_BXYZC.shape[-1], len(orbit_sizes(3 * self.block))
    normal = nn.initializers.normal(1 / math.sqrt(count * channels))

    def init(key):  # as a matrix, which compiles faster (see conv.py)
      matrix = normal(key, (count * channels, self.features), jnp.float32)
      return matrix.reshape(count, channels, -1)

    kernel_NCF = self.param('kernel', init)
    bias_F = self.param('bias', nn.initializers.zeros, (self.features,))
    out = isotropic_conv(x_BXYZC.astype(self.dtype), kernel_NCF, self.block)
    return out + bias_F.astype(self.dtype).reshape((1,) * 4 + (-1,))
