"""edjax's residual network, read out voxel by voxel in every stage.

An amount of matter has to reach the head, so only what a residual block adds is
normalised: features are sums over voxels of what is not. `input_moments` gives
the head the input's own sums and moments as well.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from flax import linen as nn

from edjax.models.conv import Conv3D
from edjax.models.downsampling import mean_pool
from edjax.models.input_moments import powers
from edjax.models.layers import (
  Convolution,
  DType,
  Kernels,
  ResidualBlock,
  note_activity,
)
from edjax.models.standardise import Standardise, UnitSize


class ResNetTrunk(nn.Module):
  """Residual network whose every stage is read out voxel by voxel.

  After each stage a small layer is applied at every voxel and averaged over the
  grid, a sum but for a constant. Properties that are sums over the parts of a
  molecule (energies, polarisabilities) are thus sums of local terms, as in
  networks on atoms (SchNet: Schuett et al. 2017, arXiv 1706.08566). Stages see
  1, 2, 4, ... times as far.

  Attributes:
    widths: channels of each stage; a stage halves the grid of the one before.
    blocks: residual blocks of each stage.
    local: features of a voxel that are averaged, in each stage.
    kernels: 'isotropic' (weights depend on distance, see `IsotropicConv3D`; a
      stage averages over 2^3 voxels) or 'free' (a stage begins with a
      convolution of 2^3 voxels).
    stem: edge of the blocks of voxels that become channels first; 1: none.
    input_powers: whether it sees `powers` of the input, or the input alone.
    dtype: of all but parameters and sums, which are float32.
  """

  widths: Annotated[tuple[int, ...], 1]
  blocks: Annotated[tuple[int, ...], 0]
  local: Annotated[int, 1]
  kernels: Kernels
  stem: Annotated[int, 1]
  input_powers: bool
  dtype: DType

  def check(self, grid_3: tuple[int, ...]) -> None:
    """Raises ValueError for a grid that cannot be halved often enough.

    It also raises where widths and blocks are not of as many stages.
    """
    if len(self.widths) != len(self.blocks):
      raise ValueError(
        f'model.widths={self.widths} and model.blocks={self.blocks} must have '
        'one entry per stage.'
      )
    shrink = self.stem * 2 ** (len(self.widths) - 1)
    if any(n % shrink for n in grid_3):
      raise ValueError(
        f'grid_size must be a multiple of {shrink} for stem={self.stem} and '
        f'{len(self.widths)} stages; the grid is {grid_3}.'
      )

  @nn.compact
  def __call__(self, vox_BXYZC: jax.Array, train: bool) -> jax.Array:
    """Returns features_BF, standardised by the batch that `init` gets.

    Raises:
      ValueError: see `check`.
    """
    del train
    self.check(vox_BXYZC.shape[1:4])
    x = vox_BXYZC
    if self.input_powers:
      # What tells elements apart in a density are its peaks, and a convolution
      # over blocks of voxels averages them away: it has to see them raised.
      x = jnp.concatenate(powers(x), axis=-1)
    x = UnitSize(name='unit_size')(x).astype(self.dtype)
    sums_BF = []
    stages = zip(self.widths, self.blocks, strict=True)
    for i, (width, count) in enumerate(stages):
      # Enter the stage: its grid, its channels.
      if i == 0:
        x = Convolution(
          self.kernels, width, self.stem, self.dtype, name='stem'
        )(x)
      elif self.kernels == 'isotropic':
        x = mean_pool(x)
        x = nn.Dense(width, dtype=self.dtype, name=f'down_{i}')(x)
      else:
        down = Conv3D(width, 2, blocks=True, dtype=self.dtype, name=f'down_{i}')
        x = down(x)
      for j in range(count):
        x = ResidualBlock(self.kernels, self.dtype, name=f'block_{i}_{j}')(x)
      # Read it out.
      h = nn.silu(nn.Dense(self.local, dtype=self.dtype, name=f'local_{i}')(x))
      note_activity(self, h, f'silu_{i}')
      sums_BF.append(h.astype(jnp.float32).mean((1, 2, 3)))
    return Standardise(name='standardise')(jnp.concatenate(sums_BF, axis=-1))
