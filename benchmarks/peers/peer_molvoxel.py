"""molvoxel (Numba) on CPU: atoms as Gaussians, one channel per type."""

import numpy as np
from cases import molecules
from molvoxel import create_voxelizer

PACKAGES = ['molvoxel', 'numba']


def atoms(cases, channels, size, spacing, width, reach):
  """Grids a batch of molecules, each into its part of one array.

  Args:
    cases: path of the file that `cases.molecules` reads.
    channels: number of types.
    size: voxels along an edge.
    spacing: Å.
    width: standard deviation, Å.
    reach: where the Gaussian is cut off, in standard deviations.

  Returns:
    A function without arguments that returns [B, C, X, Y, Z].
  """
  # Its radius is the cutoff, its sigma a fraction of it.
  voxelizer = create_voxelizer(spacing, size, library='numba', sigma=1 / reach)
  every = list(molecules(cases, np.int16))
  out = voxelizer.get_empty_grid(channels, batch_size=len(every))

  def run():
    for (coords, types), part in zip(every, out, strict=True):
      voxelizer.forward_types(coords, None, types, reach * width, out_grid=part)
    return out

  return run
