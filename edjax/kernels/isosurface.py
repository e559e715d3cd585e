"""Surfaces on which a field has a value, as triangles."""

import itertools

import numpy as np

from edjax.grid import Grid

_CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))


def isosurface(
  values_XYZ, grid: Grid, level: float
) -> tuple[np.ndarray, np.ndarray]:
  """Triangulates the surface on which a field has a value.

  The field is taken as linear in each tetrahedron (marching tetrahedra): every
  cube of eight voxel centres is cut into the six that share its main diagonal
  (Freudenthal 1942, Ann. Math. 43, 580), so that neighbouring cubes agree on
  their common face, and each is cut by a plane (Doi and Koide 1991, IEICE
  Trans. E74, 214). The surface is closed but where it leaves the box of voxel
  centres.

  Args:
    values_XYZ: a field on the grid.
    grid: voxels.
    level: the field's unit.

  Returns:
    vertices_V3 in Å, in the frame of the grid, and faces_F3 of indices into
    them, counterclockwise as seen from where the field is below the level.

  Raises:
    ValueError: the values are not of this grid or not finite, or none of them
      is above, or none at or below the level.
  """
  values_XYZ = checked_field(values_XYZ, grid)
  low, high = float(values_XYZ.min()), float(values_XYZ.max())
  if not low <= level < high:
    raise ValueError(
      f'no isosurface at {level}: the field goes from {low:.4g} to {high:.4g}'
    )
  n = grid.size
  values_G = values_XYZ.ravel()
  above = values_XYZ > level
  count = sum(
    above[i : n - 1 + i, j : n - 1 + j, k : n - 1 + k].astype(np.int8)
    for i, j, k in _CORNERS
  )
  strides = np.array([n * n, n, 1])
  cubes_C = np.argwhere((count > 0) & (count < 8)) @ strides
  tetrahedra_T4 = np.concatenate(
    [
      cubes_C[:, None] + np.cumsum([0, *strides[list(path)]])
      for path in itertools.permutations(range(3))
    ]
  )
  inside_T4 = above.ravel()[tetrahedra_T4]
  # Those inside come first.
  order_T4 = np.argsort(~inside_T4, axis=1, kind='stable')
  tetrahedra_T4 = np.take_along_axis(tetrahedra_T4, order_T4, axis=1)
  inside_T = inside_T4.sum(1)
  # Corners of triangles are edges of a tetrahedron, from inside to outside.
  pieces = {
    1: (((0, 1), (0, 2), (0, 3)),),
    2: (((0, 2), (0, 3), (1, 3)), ((0, 2), (1, 3), (1, 2))),
    3: (((0, 3), (1, 3), (2, 3)),),
  }
  edges_F32, outwards_F3 = [], []
  corners_G3 = np.stack(np.unravel_index(np.arange(n**3), (n, n, n)), -1)
  for many, triangles in pieces.items():
    cut_T4 = tetrahedra_T4[inside_T == many]
    places_T43 = corners_G3[cut_T4]
    # Across the plane: the field is linear within a tetrahedron.
    across = places_T43[:, many:].mean(1) - places_T43[:, :many].mean(1)
    for triangle in triangles:
      edges_F32.append(cut_T4[:, np.array(triangle)])
      outwards_F3.append(across)
  edges_F32 = np.concatenate(edges_F32)
  outwards_F3 = np.concatenate(outwards_F3)
  keys_F3 = edges_F32.min(2) * n**3 + edges_F32.max(2)
  _, first, faces = np.unique(keys_F3, return_index=True, return_inverse=True)
  from_V, to_V = edges_F32.reshape(-1, 2)[first].T
  share_V = (values_G[from_V] - level) / (values_G[from_V] - values_G[to_V])
  places_V3 = corners_G3[from_V] + share_V[:, None] * (
    corners_G3[to_V] - corners_G3[from_V]
  )
  vertices_V3 = (places_V3 - (n - 1) / 2) * grid.spacing
  faces_F3 = faces.reshape(-1, 3)
  a, b, c = np.moveaxis(vertices_V3[faces_F3], 1, 0)
  wrong_F = np.sum(np.cross(b - a, c - a) * outwards_F3, axis=1) < 0
  faces_F3[wrong_F] = faces_F3[wrong_F][:, ::-1]
  return vertices_V3, faces_F3


def checked_field(values_XYZ, grid: Grid) -> np.ndarray:
  """Returns a field as float64 if it is of this grid and finite.

  Raises:
    ValueError: another shape, or a value that is not finite.
  """
  values_XYZ = np.asarray(values_XYZ, np.float64)
  if values_XYZ.shape != (grid.size,) * 3:
    raise ValueError(
      f'values must be {[grid.size] * 3} as the grid is, not '
      f'{list(values_XYZ.shape)}'
    )
  if not np.isfinite(values_XYZ).all():
    raise ValueError('the field is not finite everywhere')
  return values_XYZ
