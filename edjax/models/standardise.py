"""Layers whose constants come from the first batch: mean 0, unit size."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.kernels import numerics

# Stands for the deviation of a feature that does not vary.
_SMALLEST_STD = 1e-6
# Smallest eigenvalue of a correlation matrix that counts in full, over the
# largest one.
_FLOOR = 1e-5
# How many examples it takes to know the size of one direction: the smallest
# directions of fewer examples look smaller than they are (Marchenko and Pastur
# 1967), and scaled to unit size they would be huge on examples not seen.
_EXAMPLES_PER_DIRECTION = 4
# Standard deviations at which a feature is held: where an example lies that
# alone of 256 has something. A channel that training hardly touches (an element
# that reaches into the box from outside, say) would else be thousands of its
# deviations away in a molecule that holds it in full.
_LIMIT = 16.0


def _standardised(module: nn.Module, x_BF: jax.Array, inverse) -> jax.Array:
  """Shifts, scales and clips features by constants of the batch of `init`.

  Args:
    module: that keeps them, as 'shift' and 'scale' without a gradient.
    x_BF: features; a batch of one gives shift 0 and scale 1.
    inverse: (mean_F, std_F) -> the scale of a larger batch.
  """

  def shift(key):
    del key
    return x_BF.mean(0) if len(x_BF) > 1 else jnp.zeros_like(x_BF[0])

  def scale(key):
    if len(x_BF) == 1:
      return jnp.ones_like(x_BF[0])
    return inverse(shift(key), x_BF.std(0))

  shift_F = jax.lax.stop_gradient(module.param('shift', shift))
  scale_F = jax.lax.stop_gradient(module.param('scale', scale))
  return jnp.clip((x_BF - shift_F[None]) * scale_F[None], -_LIMIT, _LIMIT)


class Whiten(nn.Module):
  """Features made uncorrelated and of unit size.

  Mean and correlations are those of the batch that `init` is called with
  (data-dependent initialisation, Salimans and Kingma 2016, arXiv 1602.07868);
  without whitening a gradient method hardly moves along the small directions
  of features as correlated as moments are. Directions below `_FLOOR` of the
  largest stay small: they would be noise. Where there are more directions
  than a quarter of the batch, the smallest are left out; so is a feature that
  does not vary. One
  that is further than `_LIMIT` deviations from its mean counts as that far.
  From a batch of one nothing can be learned: mean 0, deviation 1. The constants
  lie among the parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, x_BF: jax.Array) -> jax.Array:
    """Returns the same shape."""

    def inverse(mean_F, std_F):
      varies_F = std_F > 1e-3 * jnp.abs(mean_F) + 1e-6
      return jnp.where(varies_F, 1 / jnp.where(varies_F, std_F, 1), 0)

    z_BF = _standardised(self, x_BF, inverse)

    def matrix(key):
      del key
      if len(z_BF) == 1:
        return jnp.eye(z_BF.shape[1], dtype=z_BF.dtype)
      correlation_FF = jnp.einsum(
        'bf,bg->fg', z_BF, z_BF, precision=numerics.HIGHEST
      )
      correlation_FF /= len(z_BF)
      values_F, vectors_FF = jnp.linalg.eigh(correlation_FF)  # ascending
      floor = _FLOOR * jnp.maximum(values_F[-1], 1e-6)
      size_F = 1 / jnp.sqrt(jnp.maximum(values_F, 0) + floor)
      known = max(len(z_BF) // _EXAMPLES_PER_DIRECTION, 1)
      size_F = jnp.where(
        jnp.arange(len(size_F)) >= len(size_F) - known, size_F, 0
      )
      return vectors_FF * size_F[None, :]

    matrix_FF = jax.lax.stop_gradient(self.param('matrix', matrix))
    return jnp.dot(z_BF, matrix_FF, precision=numerics.HIGHEST)


class Standardise(nn.Module):
  """Features of mean 0 and deviation 1 in the batch that `init` is called with.

  Data-dependent initialisation (Salimans and Kingma 2016, arXiv 1602.07868).
  From a batch of one nothing can be learned: mean 0, deviation 1. The constants
  lie among the parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, x_BF: jax.Array) -> jax.Array:
    """Returns the same shape."""

    return _standardised(self, x_BF, lambda _, std: 1 / (std + _SMALLEST_STD))


class UnitSize(nn.Module):
  """Channels of root mean square 1 in the batch that `init` is called with.

  It is taken over voxels and examples. Vacuum stays 0. The constants lie among
  the parameters but have no gradient.
  """

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns the same shape."""

    def scale(key):
      del key
      square_C = jnp.square(x_BXYZC).mean((0, 1, 2, 3))
      return 1 / (jnp.sqrt(square_C) + _SMALLEST_STD)

    scale_C = jax.lax.stop_gradient(self.param('scale', scale))
    return x_BXYZC * scale_C.reshape((1,) * 4 + (-1,))
