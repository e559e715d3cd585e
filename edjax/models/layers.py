"""Layers that networks are made of."""

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.models.conv import Conv3D
from edjax.models.downsampling import space_to_depth
from edjax.models.isotropic import IsotropicConv3D

Kernels = Literal['isotropic', 'free']
DType = Literal['float32', 'bfloat16']
# Voxels of vacuum have features near zero. Without a floor of this size,
# dividing by their root mean square makes their noise as large as the signal.
_RMS_EPSILON = 1e-2


def note_activity(module: nn.Module, x_BXYZC: jax.Array, name: str) -> None:
  """Stores how much each channel varies, where `apply` asks for 'activity'.

  With `mutable=['activity']` the standard deviation of each channel over
  voxels and examples is there, and nothing is computed otherwise.

  Args:
    module: the one that calls.
    x_BXYZC: what a nonlinearity gave.
    name: of the layer, within the module.
  """
  if module.is_mutable_collection('activity') and not module.is_initializing():
    std_C = x_BXYZC.astype(jnp.float32).std((0, 1, 2, 3))
    module.sow('activity', name, std_C, reduce_fn=lambda _, new: new)


class Convolution(nn.Module):
  """A convolution of 3^3 voxels by kind of kernel.

  Attributes:
    kind: 'isotropic' or 'free'.
    features: channels out.
    block: edge of the blocks of voxels of which the output has one each.
    dtype: of the computation and the output.
  """

  kind: Kernels
  features: int
  block: int
  dtype: DType

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns shape (batch, x / block, y / block, z / block, features)."""
    if self.kind == 'isotropic':
      conv = IsotropicConv3D(self.features, self.block, self.dtype, name='conv')
      return conv(x_BXYZC)
    conv = Conv3D(self.features, 3, dtype=self.dtype, name='conv')
    return conv(space_to_depth(x_BXYZC, self.block))


class ResidualBlock(nn.Module):
  """x + conv(silu(norm(conv(silu(norm(x)))))), full pre-activation.

  He et al. 2016, arXiv 1603.05027. SiLU, because a rectifier that a large step
  has turned off has no gradient any more and stays off. The norm is the root
  mean square over the channels of a voxel; x itself is never normalised, so
  that the amount of matter stays in it.

  Attributes:
    kind: of the kernels, see `Convolution`.
    dtype: of the computation.
  """

  kind: Kernels
  dtype: DType

  @nn.compact
  def __call__(self, x_BXYZC: jax.Array) -> jax.Array:
    """Returns the same shape."""
    width = x_BXYZC.shape[-1]
    h = x_BXYZC
    for i in range(2):
      norm = nn.RMSNorm(_RMS_EPSILON, dtype=self.dtype, name=f'norm_{i}')
      h = nn.silu(norm(h))
      note_activity(self, h, f'silu_{i}')
      h = Convolution(self.kind, width, 1, self.dtype, name=f'conv_{i}')(h)
    return x_BXYZC + h


class Head(nn.Module):
  """Two-layer perceptron on all features plus a linear map of them.

  Attributes:
    num_targets: T.
    head_width: hidden units.
    dropout: rate in the hidden layer.
  """

  num_targets: int
  head_width: Annotated[int, 1]
  dropout: Annotated[float, 0, 0.99]

  @nn.compact
  def __call__(
    self, features_BF: jax.Array, moments_BF: jax.Array | None, train: bool
  ) -> jax.Array:
    """Returns pred_BT. It starts at 0, the mean of standardised targets."""
    if moments_BF is not None:
      features_BF = jnp.concatenate([features_BF, moments_BF], axis=-1)
    from_zero = functools.partial(
      nn.Dense, self.num_targets, kernel_init=nn.initializers.zeros
    )
    linear_BT = from_zero(use_bias=False, name='linear')(features_BF)
    h_BF = nn.silu(nn.Dense(self.head_width, name='hidden')(features_BF))
    h_BF = nn.Dropout(self.dropout, deterministic=not train)(h_BF)
    return from_zero(name='out')(h_BF) + linear_BT
