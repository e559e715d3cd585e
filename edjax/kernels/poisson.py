"""The potential of a charge on a grid, without periodic images.

A charge in a box makes in that box the same potential with the kernel 1/r as
with 1/r cut off beyond L, the longest distance in the box. The latter has a
smooth transform, 4 pi (1 - cos kL)/k^2, 2 pi L^2 at k = 0, so that a sum over
wave numbers of a box four times as wide converges as fast as the charge is
resolved (F. Vico, L. Greengard, M. Ferrando, J. Comput. Phys. 2016, 323, 191).
That sum gives the kernel at the distances between voxels once and for all; to
apply it, the charge is padded with zeros to twice its width, as R. W. Hockney
and J. W. Eastwood do (Computer Simulation Using Particles, 1988, section
6-5-4), and transformed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from edjax.grid import Grid


def potential(charge_XYZ: jax.Array, grid: Grid) -> jax.Array:
  """Computes the potential at each voxel of the charge of all voxels.

  Both are means over voxels alike, or values at their centres alike: the
  convolution with 1/r and a mean may change places.

  Args:
    charge_XYZ: charges/Å^3; outside of the grid there is none.
    grid: voxels.

  Returns:
    potential_XYZ, charges/Å.
  """
  n = grid.size
  dtype = charge_XYZ.dtype
  kernel = jnp.asarray(_kernel(n) * grid.spacing**2, dtype)
  # A product of real and complex would be a promotion.
  kernel = jax.lax.complex(kernel, jnp.zeros_like(kernel))
  # Axis by axis: lines that are all zero, or not asked for, are left out.
  waves = jnp.fft.rfft(charge_XYZ, 2 * n, axis=2)
  waves = jnp.fft.fft(jnp.fft.fft(waves, 2 * n, axis=1), 2 * n, axis=0)
  waves = jnp.fft.ifft(waves * kernel, axis=0)[:n]
  waves = jnp.fft.ifft(waves, axis=1)[:, :n]
  return jnp.fft.irfft(waves, 2 * n, axis=2)[:, :, :n]


@functools.lru_cache(maxsize=4)
def _kernel(n: int) -> np.ndarray:
  """Returns the transform of the kernel on 2n voxels of edge 1.

  Both transforms are sums of cosines, axis by axis, since the kernel is even.

  Returns:
    [2n, 2n, n + 1].
  """
  longest = np.sqrt(3) * n
  k = np.pi / (2 * n) * np.arange(2 * n + 1)  # of 4n voxels
  squares = (
    k[:, None, None] ** 2 + k[None, :, None] ** 2 + k[None, None, :] ** 2
  )
  squares[0, 0, 0] = 1
  kernel = 4 * np.pi * (1 - np.cos(np.sqrt(squares) * longest)) / squares
  kernel[0, 0, 0] = 2 * np.pi * longest**2
  apart = np.arange(n + 1)
  back = _cosines(apart, k) / (4 * n)
  there = _cosines(np.pi / n * np.arange(n + 1), apart)
  for matrix in (there @ back,) * 3:
    # The axis that is summed over goes to the end of the three, three times.
    kernel = np.einsum('ia,abc->bci', matrix, kernel, optimize=True)
  mirrored = np.r_[np.arange(n + 1), np.arange(n - 1, 0, -1)]
  return kernel[mirrored][:, mirrored]


def _cosines(at: np.ndarray, of: np.ndarray) -> np.ndarray:
  """Returns the matrix of an even sum over 2 (len(of) - 1) places.

  All but the first and the last stand for themselves and their mirror image.
  """
  weights = np.where((of == of[0]) | (of == of[-1]), 1, 2)
  return weights * np.cos(np.outer(at, of))
