"""Steps whose numbers are not finite: named, skipped, counted."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from configs import default
from edjax import config as configuration
from edjax import optim
from edjax.data import batching
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache, parallel
from edjax.train import nonfinite, train_step

STEPS = 4


class Linear(nn.Module):
  """Sum of voxels times a weight; with `root` the root of its square."""

  root: bool = False

  @nn.compact
  def __call__(self, vox_BXYZC, train=False):
    del train
    weight = self.param('kernel', nn.initializers.ones, (1, 2))
    total_B1 = vox_BXYZC.sum((1, 2, 3, 4))[:, None]
    value_B2 = total_B1 * weight
    # At 0 the value is finite and the slope is not.
    return jnp.sqrt(value_B2) if self.root else value_B2


class FirstCoordinate:
  """A voxelizer of one voxel."""

  scales = ()
  raw_names = ('one',)

  def raw(self, mol):
    return mol.coords_A3[:1, :1].reshape(1, 1, 1, 1)

  def finish(self, vox_XYZC, scale_C):
    del scale_C  # ones
    return vox_XYZC


def made_up(allowed, root=False, batch_size=0):
  """(config, step, fresh state) of one voxel with the first coordinate."""
  config = default.get_config()
  config.data.targets = ('gap', 'mu')
  config.augment.rotate = False
  config.eval.rotations = 1
  config.optim.skip_nonfinite = allowed
  config.train.batch_size = batch_size or jax.local_device_count()
  config.train.steps = STEPS
  config = configuration.resolve(config)
  model = Linear(root)
  optimizer = optim.make_optimizer(config.optim, STEPS)

  step = train_step.make_train_step(config, model, optimizer, FirstCoordinate())
  sample = jnp.ones((1, 1, 1, 1, 1))
  state = train_step.init_state(model, optimizer, 0, sample)
  inputs = compile_cache.step_inputs(config, FirstCoordinate())
  inputs = parallel.replicate(inputs)
  call = train_step.make_train_call(step, False)
  return config, lambda *args: call(*args, inputs), jax.device_get(state)


def run(step, state, places):
  """A step for each place of the first of four one-atom molecules."""
  state, found = parallel.replicate(state), []
  count = jax.local_device_count()
  labels = np.ones((1, count, 2), np.float32)
  for place in places:
    one = Molecule.from_arrays([6], [[1.0, 0.0, 0.0]], center=False)
    molecules = jax.tree.map(np.array, stack([one] * count))
    molecules.coords_A3[0, 0, 0] = place  # which no molecule is made with
    batch = jax.tree.map(lambda x: x[None], molecules)
    split = jax.tree.map(
      lambda x: np.swapaxes(parallel.shard(np.swapaxes(x, 0, 1)), 1, 2),
      (batch, labels),
    )
    state, loss = step(state, split)
    found.append(float(parallel.unreplicate(loss)[0]))
  return parallel.unreplicate(state), found


def kernel(state):
  return np.asarray(state.params['kernel'])


def test_a_skipped_step_changes_nothing():
  _, step, fresh = made_up(allowed=2)
  state, losses = run(step, fresh, [2.0, np.nan, 2.0])
  assert np.isfinite(losses).tolist() == [True, False, True]
  assert nonfinite.skipped(state) == 1
  assert int(state.step) == 3
  after_one, _ = run(step, fresh, [2.0])
  after_bad, _ = run(step, fresh, [2.0, np.nan])
  np.testing.assert_array_equal(kernel(after_one), kernel(after_bad))
  assert (kernel(after_one) != kernel(fresh)).all()
  assert (kernel(state) != kernel(after_one)).all()
  assert np.isfinite(np.concatenate(jax.tree.leaves(state.ema_params))).all()


def test_without_leave_the_parameters_are_lost():
  """Negative control of the above; and what a run then ends with."""
  _, step, fresh = made_up(allowed=0)
  state, losses = run(step, fresh, [2.0, np.nan])
  assert np.isnan(losses[1])
  assert np.isnan(kernel(state)).any()
  assert nonfinite.skipped(state) == 0
  with pytest.raises(FloatingPointError, match=r"after step 2 .*'kernel'"):
    nonfinite.check_parameters(state)


def test_a_gradient_that_is_not_finite_is_seen_at_its_own_step():
  """The loss at 0 is finite; without a look at the gradient, step 2 is it."""
  _, step, fresh = made_up(allowed=1, root=True)
  _, losses = run(step, fresh, [0.0, 2.0])
  assert np.isnan(losses[0])
  assert np.isfinite(losses[1])


def test_more_in_a_row_than_allowed():
  _, step, fresh = made_up(allowed=1)
  state, _ = run(step, fresh, [np.nan, 2.0, np.nan])
  assert nonfinite.skipped(state) == 2  # not in a row
  assert np.isfinite(kernel(state)).all()
  state, _ = run(step, fresh, [np.nan, np.nan])
  assert np.isnan(kernel(state)).any()


@pytest.fixture
def watched():
  """(allowed, state) -> `nonfinite.Losses` of 16 examples, and its log."""
  log = []

  def make(allowed, in_a_row=0):
    config, _, state = made_up(allowed, batch_size=8)
    task = types.SimpleNamespace(
      rows={'train': np.arange(16)},
      pack=types.SimpleNamespace(ids=[f'm{i}' for i in range(16)]),
    )
    directory = types.SimpleNamespace(log=lambda *line: log.append(line))
    if allowed:
      count = np.int32(in_a_row)
      state = state.replace(
        opt_state=optax.tree_utils.tree_set(
          state.opt_state, notfinite_count=count
        )
      )
    return config, nonfinite.Losses(config, task, directory, state), log

  return make


def losses_of(*values):
  return parallel.replicate(np.array(values, np.float32))


def test_the_examples_are_named(watched):
  config, losses, log = watched(0)
  losses.add((10, losses_of(1.0, 3.0)))
  assert (losses.mean, losses.count) == (2.0, 2)
  with pytest.raises(FloatingPointError, match='of step 13 is not fin') as e:
    losses.add((12, losses_of(1.0, np.nan)))
  indices = batching.batch_indices(config.train.seed, 13, 16, 8)
  named = str(e.value)
  assert all(f'"m{i}"' in named for i in indices)
  others = set(range(16)) - set(indices.tolist())
  assert not any(f'"m{i}"' in named for i in others)
  assert log == []


def test_skipped_steps_are_told_and_logged(watched, capsys):
  _, losses, log = watched(2)
  losses.add((4, losses_of(np.nan, 1.0, np.inf)))
  assert log == [(5, 'train', 'skipped', 1, ''), (7, 'train', 'skipped', 1, '')]
  assert (losses.mean, losses.count) == (1.0, 1)
  assert 'step 4 is skipped' in capsys.readouterr().out
  losses.add(None)
  losses.add((7, losses_of(np.nan)))
  with pytest.raises(FloatingPointError, match='3 steps in a row'):
    losses.add((8, losses_of(np.nan)))
  losses.clear()
  assert np.isnan(losses.mean)


def test_what_was_in_a_row_before_a_kill_counts(watched):
  _, losses, _ = watched(2, in_a_row=2)
  with pytest.raises(FloatingPointError, match='3 steps in a row'):
    losses.add((4, losses_of(np.nan)))
