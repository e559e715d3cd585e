"""molvoxel (Numba) on CPU: atoms as Gaussians, one channel per type."""

import numpy as np
from molvoxel import create_voxelizer

PACKAGES = ['molvoxel', 'numba']


def atoms(cases, channels, size, spacing, width, reach):
  """A batch of molecules, each into its part of one array.

  Args:
    cases: path of an .npz with coords_BA3 (Å), types_BA (-1 where padded).
    channels: number of types.
    size: voxels along an edge.
    spacing: Å.
    width: standard deviation, Å.
    reach: where the Gaussian is cut off, in standard deviations.

  Returns:
    A function without arguments that returns [B, C, X, Y, Z].
  """
  data = np.load(cases)
  # Its radius is the cutoff, its sigma a fraction of it.
  voxelizer = create_voxelizer(spacing, size, library='numba', sigma=1 / reach)
  molecules = []
  for coords_A3, types_A in zip(
    data['coords_BA3'], data['types_BA'], strict=True
  ):
    real = types_A >= 0
    molecules.append(
      (
        np.ascontiguousarray(coords_A3[real], np.float32),
        types_A[real].astype(np.int16),
      )
    )
  out = voxelizer.get_empty_grid(channels, batch_size=len(molecules))

  def run():
    for (coords, types), part in zip(molecules, out, strict=True):
      voxelizer.forward_types(coords, None, types, reach * width, out_grid=part)
    return out

  return run
