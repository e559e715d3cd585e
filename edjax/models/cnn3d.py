"""ATOM3D's 3DCNN."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.models.conv import Conv3D
from edjax.models.downsampling import max_pool
from edjax.models.layers import DType, note_activity

# Voxels along an edge of which four valid convolutions and two max-pools of
# cnn3d leave one.
_MIN_SIZE = 16


class CNN3DTrunk(nn.Module):
  """Convolutions of ATOM3D's 3DCNN: 32-64-128-256, kernel 3, two max-pools.

  Townshend et al. 2021, arXiv 2012.04035, examples/{lba,smp}/cnn3d. Rectified
  and max-pooled values are the same in either order; pooling first is cheaper
  and leaves no ties to the gradient of the maximum.

  Attributes:
    dtype: of all but parameters, which are float32.
  """

  dtype: DType

  def check(self, grid_3: tuple[int, ...]) -> None:
    """Raises ValueError where nothing is left after the last pooling."""
    if min(grid_3) < _MIN_SIZE:
      raise ValueError(
        f'cnn3d needs grid_size >= {_MIN_SIZE} (four valid convolutions and '
        f'two max-pools); the grid is {grid_3}.'
      )

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF, the voxels that are left; raises as `check` does."""
    self.check(vox_BXYZC.shape[1:4])
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
  dtype: DType

  @nn.compact
  def __call__(
    self, features_BF: jax.Array, moments_BF: None, train: bool
  ) -> jax.Array:
    """Returns pred_BT."""
    del moments_BF
    x_BF = nn.relu(nn.Dense(512, dtype=self.dtype, name='hidden')(features_BF))
    x_BF = nn.Dropout(0.25, deterministic=not train)(x_BF)
    return nn.Dense(self.num_targets, name='out')(x_BF.astype(jnp.float32))
