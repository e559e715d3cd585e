"""The molecules that peers voxelise."""

import numpy as np


def molecules(path, types_dtype):
  """Yields coords_A3 (Å) and types_A of the real atoms of each.

  Args:
    path: of an .npz with coords_BA3 and types_BA (-1 where padded).
    types_dtype: of the types.
  """
  data = np.load(path)
  for coords_A3, types_A in zip(
    data['coords_BA3'], data['types_BA'], strict=True
  ):
    real = types_A >= 0
    coords_A3 = np.ascontiguousarray(coords_A3[real], np.float32)
    yield coords_A3, types_A[real].astype(types_dtype)
