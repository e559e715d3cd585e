"""Voxels at evaluation: in the motions of training, others for each pass."""

import jax
import numpy as np
import pytest

from configs import default
from edjax import geometry, models
from edjax.evaluate import predicting
from edjax.grid import Grid
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache, parallel
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


def test_parts_of_a_batch_are_predicted_in_its_order(monkeypatch):
  voxelizer = make_voxelizer(('valence',), Grid(8, 1.0))
  mols = stack(
    [
      Molecule.from_arrays([6, 8, 1], COORDS * (1 + i / 9), index=i)
      for i in range(8)
    ]
  )
  inputs = compile_cache.StepInputs(np.uint32(3), np.ones(1), np.float32(0))
  small = {'stem': 1, 'widths': (4,), 'blocks': (0,), 'local': 4}
  model = models.build_model({**default.get_config().model, **small}, 2)

  @jax.jit
  def at_once(mols):
    vox_BXYZC = predicting.voxels(
      geometry.Motions(True, 0.0), voxelizer, mols, 0, inputs
    )
    params = model.init(jax.random.key(0), vox_BXYZC, train=False)['params']
    # The output layers start at zero.
    params = jax.tree.map(lambda x: x + 0.1, params)
    return params, model.apply({'params': params}, vox_BXYZC, train=False)

  params, whole = at_once(mols)
  assert np.ptp(whole, axis=0).min() > 1e-3
  monkeypatch.setattr(parallel, 'pmap', jax.jit)
  for part in (1, 2, 8):
    monkeypatch.setattr(parallel, 'examples_at_a_time', lambda _, n=part: n)
    predict = predicting._predict(geometry.Motions(True, 0.0), model, voxelizer)
    np.testing.assert_allclose(
      predict(params, mols, 0, inputs), whole, rtol=1e-5, atol=1e-5
    )
