"""Checkpoints: what goes in comes out, on any number of devices."""

import flax.struct
import jax
import numpy as np
import optax
import pytest

from edjax import checkpoint, parallel


@flax.struct.dataclass
class State:
  step: jax.Array
  params: dict
  opt_state: optax.OptState


@pytest.fixture
def state():
  rng = np.random.default_rng(0)
  params = {
    'dense': {
      'kernel': rng.normal(size=(3, 4)).astype(np.float32),
      'bias': np.zeros(4, np.float32),
    }
  }
  return jax.device_get(
    State(np.int32(7), params, optax.adamw(1e-3).init(params))
  )


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)
    assert np.asarray(x).dtype == np.asarray(y).dtype


def test_round_trip_is_exact(tmp_path, state):
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore('latest', state) is None
    placed = parallel.replicate(state)
    host = parallel.unreplicate(placed)
    checkpoints.save('latest', 7, host, {'best': 0.25})
  empty = jax.tree.map(np.zeros_like, state)
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    step, restored, meta = checkpoints.restore('latest', empty)
  assert (step, meta) == (7, {'best': 0.25})
  assert_equal(restored, state)


def test_keeps_two_and_replaces_one(tmp_path, state):
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    for step in (1, 2, 3):
      checkpoints.save('latest', step, state.replace(step=np.int32(step)), {})
    checkpoints.save('latest', 3, state.replace(step=np.int32(33)), {})
    step, restored, _ = checkpoints.restore('latest', state)
  assert (step, int(restored.step)) == (3, 33)
  kept = {p.name for p in (tmp_path / 'checkpoints' / 'latest').iterdir()}
  assert kept == {'2', '3'}


def test_best_after_the_resumed_step_is_forgotten(tmp_path, state):
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    for step in (10, 20):
      checkpoints.save('best', step, state.params, {'best': 1.0 / step})
    checkpoints.forget_after(15)
    step, params, _ = checkpoints.restore('best', state.params)
  assert step == 10
  assert_equal(params, state.params)
