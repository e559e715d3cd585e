"""Parts of edjax's isotropic network: kernels of orbits, powers of inputs."""

import functools

import numpy as np
import torch


def powers(vox: torch.Tensor) -> list[torch.Tensor]:
  """`edjax.models.input_moments.powers`."""
  size = vox.abs()
  root = vox / (size**2 + 1e-4) ** 0.25
  return [root, vox, size * root, size * vox, size**2 * vox]


@functools.lru_cache
def orbits_of(block: int) -> tuple[torch.Tensor, torch.Tensor]:
  """Returns the orbit of each offset, and orbits' sizes, for 3^3 blocks."""
  size = 3 * block
  distance = np.abs(2 * np.arange(size) - (size - 1))
  offsets = np.stack(np.meshgrid(*(distance,) * 3, indexing='ij'), -1)
  _, orbit, count = np.unique(
    np.sort(offsets.reshape(-1, 3)),
    axis=0,
    return_inverse=True,
    return_counts=True,
  )
  return torch.from_numpy(orbit.reshape(-1)), torch.from_numpy(count)


def tied_kernel(
  shells_NCF: torch.Tensor, block: int = 1, orbits=None
) -> torch.Tensor:
  """Makes the kernel of 3^3 offsets, [F, C, X, Y, Z], from orbits' weights.

  Args:
    shells_NCF: [orbits, channels of a voxel, channels out].
    block: edge of the blocks of voxels that are channels of the input.
    orbits: `orbits_of(block)` where they lie on the device already.
  """
  channels, features = shells_NCF.shape[1:]
  orbit, count = orbits or orbits_of(block)
  kernel = (shells_NCF / count.view(-1, 1, 1))[orbit]
  kernel = kernel.view(*(3, block) * 3, channels, features)
  # To channels out, (place in a block, channel), block.
  kernel = kernel.permute(7, 1, 3, 5, 6, 0, 2, 4)
  return kernel.reshape(features, -1, 3, 3, 3)
