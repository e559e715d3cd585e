"""Evaluation: every example once, in order, whatever the batch size."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from edjax.evaluate import evaluator, summary
from edjax.molecule import Molecule, stack
from edjax.runtime import parallel


@pytest.mark.parametrize('size', [4, 8, 12, 16])
@pytest.mark.parametrize('n', [1, 8, 13])
def test_every_example_once_and_in_order(n, size):
  """On 4 devices; the network is replaced by the number of the example."""
  rows = np.arange(100, 100 + n)
  molecules = stack(
    [Molecule.from_arrays([6], [[0.0, 0, 0]], index=int(i)) for i in rows]
  )
  task = types.SimpleNamespace(
    rows={'test': rows},
    molecules={'test': molecules},
    labels=types.SimpleNamespace(to_native=lambda x, rows: x),
  )
  config = types.SimpleNamespace(eval=types.SimpleNamespace(batch_size=size))

  def number(params, molecules, rotation):
    ids_B = molecules.index.astype(jnp.float32)
    return jnp.stack([ids_B + params, ids_B * 0 + rotation], axis=-1)

  of_test = evaluator.Evaluator(config, task, 'test', parallel.pmap(number))
  found_RBT = of_test.predict(np.float32(0.5), rotations=2)
  assert found_RBT.shape == (2, n, 2)
  for rotation in range(2):
    np.testing.assert_array_equal(found_RBT[rotation, :, 0], rows + 0.5)
    np.testing.assert_array_equal(found_RBT[rotation, :, 1], rotation)


def test_spread_over_rotations_does_not_depend_on_their_number():
  rng = np.random.default_rng(0)
  for rotations in (2, 4, 16):
    prediction_RB = rng.normal(size=(rotations, 20_000)) * 3 + 7
    spread = summary.spread(prediction_RB)
    assert spread == pytest.approx(3, rel=0.02)
    # The standard deviation over so few is smaller.
    if rotations == 2:
      assert prediction_RB.std(0).mean() < 2
  assert summary.spread(prediction_RB[:1]) is None
