"""ATOM3D's 3DCNN."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.models.conv import Conv3D
from edjax.models.layers import DTYPES, note_activity
from edjax.models.network import Network
from edjax.models.pooling import max_pool

# Voxels along an edge of which four valid convolutions and two max-pools of
# cnn3d leave one.
CNN3D_MIN_SIZE = 16


class CNN3DTrunk(nn.Module):
  """Convolutions of ATOM3D's 3DCNN: 32-64-128-256, kernel 3, two max-pools.

  Townshend et al. 2021, arXiv 2012.04035, examples/{lba,smp}/cnn3d. Rectified
  and max-pooled values are the same in either order; pooling first is cheaper
  and leaves no ties to the gradient of the maximum.

  Attributes:
    dtype: of all but parameters, which are float32.
  """

  dtype: Any

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF, the voxels that are left.

    Raises:
      ValueError: where nothing is left of the grid after the last pooling.
    """
    if min(vox_BXYZC.shape[1:4]) < CNN3D_MIN_SIZE:
      raise ValueError(
        f'cnn3d needs grid_size >= {CNN3D_MIN_SIZE} (four valid convolutions '
        f'and two max-pools); the grid is {vox_BXYZC.shape[1:4]}.'
      )
    x = vox_BXYZC.astype(self.dtype)
    for i, width in enumerate((32, 64, 128, 256)):
      x = Conv3D(width, 3, padding='VALID', dtype=self.dtype)(x)
      if i % 2:
        x = max_pool(x)
      x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
      note_activity(self, x, f'relu_{i}')
    return x.reshape(len(x), -1)


class CNN3DHead(nn.Module):
  """The dense layers of ATOM3D's 3DCNN, 512 hidden units.

  Attributes:
    num_targets: T.
    dtype: of all but parameters and the output layer, which are float32.
  """

  num_targets: int
  dtype: Any

  @nn.compact
  def __call__(
    self, features_BF: jax.Array, moments_BF: None, train: bool
  ) -> jax.Array:
    """Returns pred_BT."""
    del moments_BF
    x_BF = nn.relu(nn.Dense(512, dtype=self.dtype, name='hidden')(features_BF))
    x_BF = nn.Dropout(0.25, deterministic=not train)(x_BF)
    return nn.Dense(self.num_targets, name='out')(x_BF.astype(jnp.float32))


def make_cnn3d(config: Mapping, num_targets: int) -> nn.Module:
  """The network of `config.model`, of which it reads the dtype alone."""
  dtype = DTYPES[config['dtype']]
  return Network(CNN3DTrunk(dtype), CNN3DHead(num_targets, dtype), False)
