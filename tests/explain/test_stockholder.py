"""Hirshfeld's shares of atoms, against weights point by point."""

import jax.numpy as jnp
import numpy as np

from edjax import fields
from edjax import grid as grids
from edjax.explain import stockholder
from edjax.grid import Grid
from edjax.molecule import Molecule

WATER = Molecule.from_arrays(
  ['O', 'H', 'H'],
  [[0, 0, 0.12], [0, 0.76, -0.47], [0.1, -0.76, -0.47]],
  max_atoms=4,
)
GRID, B = Grid(24, 0.35), 8.0


def test_shares_are_those_of_weights_point_by_point():
  values_XYZ = np.random.default_rng(0).normal(size=(GRID.size,) * 3)
  found_A, rest = stockholder.shares(
    WATER, jnp.asarray(values_XYZ, jnp.float32), GRID, B
  )
  points_G3 = grids.centres(GRID)
  free_AG = np.array(
    [
      fields.promolecule(
        Molecule.from_arrays(
          [int(z)], np.asarray(WATER.coords_A3)[[i]], center=False
        ),
        points_G3,
        b_iso=B,
      )
      for i, z in enumerate(WATER.numbers_A[:3])
    ],
    np.float64,
  )
  weights_AG = free_AG / free_AG.sum(0)
  expected_A = weights_AG @ values_XYZ.ravel()
  np.testing.assert_allclose(found_A[:3], expected_A, rtol=1e-3, atol=1e-3)
  assert found_A[3] == 0  # padding
  assert rest == 0
  np.testing.assert_allclose(
    found_A.sum(), values_XYZ.sum(), rtol=1e-4, atol=1e-3
  )


def test_the_promolecule_is_divided_into_electrons():
  free_XYZ = fields.promolecule_grid(WATER, GRID, b_iso=B)
  found_A, _ = stockholder.shares(WATER, free_XYZ, GRID, B)
  electrons_A = np.asarray(found_A) * GRID.voxel_volume
  np.testing.assert_allclose(electrons_A, [8, 1, 1, 0], atol=0.02)


def test_what_lies_far_from_all_atoms_is_the_rest():
  far = Grid(4, 60.0)
  ones_XYZ = jnp.ones((4, 4, 4))
  found_A, rest = stockholder.shares(WATER, ones_XYZ, far, B)
  np.testing.assert_allclose(found_A.sum() + rest, 64)
  assert rest > 0
