"""Voxels at evaluation: in the motions of training, others for each pass."""

import jax
import numpy as np
import pytest

from edjax import geometry
from edjax.evaluate import predicting
from edjax.grid import Grid
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache
from edjax.voxelize import make_voxelizer

COORDS = np.array([[0.3, 0.1, 0.0], [0.9, -0.5, 0.4], [-0.6, 0.2, 0.7]])


@pytest.fixture(scope='module')
def voxels():
  """Returns (motions, number) -> centres of matter of two molecules, [B, 3]."""
  voxelizer = make_voxelizer(('valence',), Grid(16, 0.5), supersample=2)
  mols = stack(
    [
      Molecule.from_arrays([6, 8, 1], COORDS, center=False, index=i)
      for i in range(2)
    ]
  )
  inputs = compile_cache.StepInputs(np.uint32(3), np.ones(1), np.float32(0))

  def centres(motions, number):
    vox_BXYZC = jax.jit(predicting.voxels, static_argnums=(0, 1))(
      geometry.Motions(*motions), voxelizer, mols, number, inputs
    )
    at = (np.arange(16) - 7.5) * 0.5
    weight = np.asarray(vox_BXYZC)[..., 0]
    return (
      np.stack(
        [
          np.einsum('bxyz,x->b', np.moveaxis(weight, axis, 1), at)
          for axis in (1, 2, 3)
        ],
        axis=1,
      )
      / weight.sum((1, 2, 3))[:, None]
    )

  return centres


def test_no_motion(voxels):
  both = voxels((False, 0.0), 0)
  np.testing.assert_allclose(both, voxels((False, 0.0), 1), atol=1e-6)
  expected = np.average(COORDS, axis=0, weights=[4, 6, 1])
  np.testing.assert_allclose(both, [expected] * 2, atol=1e-4)


def test_shifts_below_a_voxel(voxels):
  """Within half a voxel, others for each example and each pass."""
  still = voxels((False, 0.0), 0)
  first, second = (voxels((False, 0.25), k) - still for k in (0, 1))
  for shift_B3 in (first, second):
    assert 0.01 < np.abs(shift_B3).max() < 0.2501
    assert np.abs(shift_B3[0] - shift_B3[1]).max() > 0.01
  assert np.abs(first - second).max() > 0.01


def test_rotations_leave_the_distance_from_the_origin(voxels):
  still = np.linalg.norm(voxels((False, 0.0), 0), axis=1)
  first, second = (voxels((True, 0.0), k) for k in (0, 1))
  for turned in (first, second):
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), still, atol=1e-3)
  assert np.abs(first - second).max() > 0.05
