"""libmolgrid on CPU: atoms as Gaussians, one channel per type."""

import warnings

# PyTorch's own, about a numpy older than the one it was built against.
warnings.filterwarnings('ignore')

import molgrid  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from cases import molecules  # noqa: E402

PACKAGES = ['molgrid']


def atoms(cases, channels, size, spacing, width, reach):
  """Grids a batch of molecules, each into its part of one tensor.

  Args:
    cases: path of the file that `cases.molecules` reads.
    channels: number of types.
    size: voxels along an edge.
    spacing: Å.
    width: standard deviation, Å; libmolgrid's radius is twice that.
    reach: in radii: above 0 the Gaussian goes on to there, and as a parabola
      to (1 + 2 reach^2) / (2 reach); below 0 it is cut off at -reach.

  Returns:
    A function without arguments that returns [B, C, X, Y, Z].
  """
  maker = molgrid.GridMaker(
    resolution=spacing,
    dimension=spacing * (size - 1),
    gaussian_radius_multiple=reach,
  )
  sets = [
    molgrid.CoordinateSet(
      coords, types, np.full(len(types), 2 * width, np.float32), channels
    )
    for coords, types in molecules(cases, np.float32)
  ]
  out = torch.zeros((len(sets), channels) + (size,) * 3)
  views = [molgrid.tensor_as_grid(part) for part in out]
  origin = molgrid.float3(0, 0, 0)

  def run():
    for one, view in zip(sets, views, strict=True):
      maker.forward(origin, one, view)
    return out.numpy()

  return run
