"""What convolutions alone can tell: two arrangements with the same moments.

Four equal atoms on a sphere, as a square or as a tetrahedron, have the same
centroid and the same second moment; where atoms do not overlap, so are the
integrals of all powers. A head that reads moments can only guess.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from edjax import geometry, models, optim, voxelize
from edjax.grid import Grid
from edjax.models import input_moments
from edjax.molecule import Molecule, stack

SQUARE = np.array([[1, 1, 0], [1, -1, 0], [-1, -1, 0], [-1, 1, 0]])
TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
FLUORINE = 9
# Å. At this radius atoms are 5.7 Å apart: their Gaussians do not overlap.
# Displacements of each atom and of all hide what is left of differences, as
# that a square has an inversion centre and thus no dipole of voxels' errors.
RADIUS, DISPLACEMENT, SHIFT = 4.0, 0.3, 0.5
TRAIN, TEST = 256, 128
BATCH, RATE = 32, 1e-2
# Conftest has programs compiled in haste; these run 80 times.
OPTIMISED = {'xla_backend_optimization_level': 2}
# Channel -> what its voxelizer needs.
INPUTS = {
  'atoms': {'elements': ('F',), 'widths': {'atoms': 0.4}},
  'density': {'density': 'free_atoms'},
  'gradient': {'density': 'free_atoms'},
  'shape': {'widths': {'shape': 0.3}},
}


def arrangements():
  """(molecules, labels_B): -1 squares, 1 tetrahedra, each in a new way up."""
  rng = np.random.default_rng(0)
  labels_B = np.tile(np.array([-1, 1], np.float32), (TRAIN + TEST) // 2)
  keys = jax.random.split(jax.random.key(0), len(labels_B))
  turns_B33 = jax.device_get(jax.vmap(geometry.random_rotation)(keys))
  molecules = []
  for i, label in enumerate(labels_B):
    corners_43 = TETRAHEDRON if label > 0 else SQUARE
    length = np.linalg.norm(corners_43[0])
    coords_43 = RADIUS / length * corners_43 @ turns_B33[i].T
    coords_43 += DISPLACEMENT * rng.normal(size=(4, 3))
    coords_43 += rng.uniform(-SHIFT, SHIFT, 3)
    molecules.append(
      Molecule.from_arrays([FLUORINE] * 4, coords_43, index=i, center=False)
    )
  return stack(molecules), labels_B


def voxels(channel):
  """(vox_BXYZC, labels_B) of one input, scaled as in runs."""
  molecules, labels_B = arrangements()
  make = functools.partial(
    voxelize.make_voxelizer, (channel,), Grid(16, 0.9), supersample=2,
    **INPUTS[channel],
  )  # fmt: skip
  first = jax.tree.map(lambda x: x[:BATCH], molecules)
  voxelizer = make(scales=voxelize.fit_scales(make(), first))
  return jax.jit(jax.vmap(voxelizer))(molecules), labels_B


def share_right(vox_BXYZC, labels_B, steps, **changes):
  """Of orientations not seen, what a network tells right after training."""
  config = default.get_config()
  config.model.update(
    {
      'widths': (8, 16),
      'blocks': (1, 1),
      'local': 16,
      'head_width': 16,
      'dropout': 0.0,
      **changes,
    }
  )
  model = models.build_model(config.model, 1)
  optimizer = optim.make_optimizer(config.optim, steps)
  init = jax.jit(functools.partial(model.init, train=False))
  params = init(jax.random.key(0), vox_BXYZC[:BATCH])
  state = optimizer.init(params)

  def predict(params, vox_BXYZC):
    return model.apply(params, vox_BXYZC, train=False)[:, 0]

  @functools.partial(jax.jit, compiler_options=OPTIMISED)
  def step(params, state, vox_BXYZC, labels_B):
    def loss(params):
      return ((predict(params, vox_BXYZC) - labels_B) ** 2).mean()

    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    updates = jax.tree.map(lambda u: RATE * u, updates)
    return optax.apply_updates(params, updates), state

  rng = np.random.default_rng(0)
  for _ in range(steps):
    rows = rng.choice(TRAIN, BATCH, replace=False)
    params, state = step(params, state, vox_BXYZC[rows], labels_B[rows])
  found_B = jax.jit(predict)(params, vox_BXYZC[TRAIN:])
  return float((jnp.sign(found_B) == labels_B[TRAIN:]).mean())


@pytest.mark.parametrize('channel', INPUTS)
def test_convolutions_tell_what_moments_cannot(channel):
  vox_BXYZC, labels_B = voxels(channel)
  moments_BF = np.asarray(input_moments.power_moments(vox_BXYZC))
  square_BF, tetrahedron_BF = (moments_BF[labels_B == x] for x in (-1, 1))
  spread_F = np.sqrt((square_BF.var(0) + tetrahedron_BF.var(0)) / 2)
  apart_F = np.abs(square_BF.mean(0) - tetrahedron_BF.mean(0))
  # Means of 192 each differ by 0.1 of their spread by chance.
  assert (apart_F <= 0.35 * spread_F).all()
  # Chance is 0.5 with an error of 0.04; the moments get more steps.
  moments = share_right(vox_BXYZC, labels_B, 120, name='moments')
  assert moments < 0.7
  assert share_right(vox_BXYZC, labels_B, 80) > 0.95
