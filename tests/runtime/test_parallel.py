"""Devices: placement, splitting, sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax.runtime import parallel


def test_four_devices():
  assert jax.local_device_count() == 4


def test_replicate_and_back():
  tree = {'a': np.arange(6.0, dtype=np.float32).reshape(2, 3), 'b': np.int32(5)}
  placed = parallel.replicate(tree)
  assert placed['a'].shape == (4, 2, 3)
  assert len(placed['a'].devices()) == 4
  back = parallel.unreplicate(placed)
  np.testing.assert_array_equal(back['a'], tree['a'])
  assert back['b'].shape == ()
  assert back['b'] == 5
  # Outputs of pmap come back in the same way.
  out = parallel.pmap(lambda x: x * 2)(placed['a'])
  np.testing.assert_array_equal(parallel.unreplicate(out), 2 * tree['a'])


def test_placed_data_is_not_moved_again():
  call = parallel.pmap(lambda x: x + 1)
  placed = parallel.replicate(np.ones(3, np.float32))
  with jax.transfer_guard('disallow'):
    jax.block_until_ready(call(placed))


def test_shard_and_gather_are_inverse():
  x_B3 = np.arange(24).reshape(8, 3)
  np.testing.assert_array_equal(parallel.gather(parallel.shard(x_B3)), x_B3)
  with pytest.raises(ValueError, match='10 cannot be split over 4'):
    parallel.shard(np.zeros(10))


def test_mean_of_unequal_shares_is_sum_over_count():
  """A mean of the devices' means would be another number."""
  values = np.array([1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0], np.float32)
  mask = np.array([1, 0, 0, 0, 1, 1, 1, 1], np.float32)

  def mean(v, m):
    total, count = parallel.psum((jnp.sum(v * m), jnp.sum(m)))
    return total / count

  out = parallel.pmap(mean)(parallel.shard(values), parallel.shard(mask))
  expected = (values * mask).sum() / mask.sum()
  np.testing.assert_allclose(out, np.full(4, expected), rtol=1e-6)
  shares = [
    (v * m).sum() / max(m.sum(), 1)
    for v, m in zip(parallel.shard(values), parallel.shard(mask), strict=True)
  ]
  assert abs(np.mean(shares) - expected) > 1


def test_parts_of_a_batch_follow_the_cores(monkeypatch):
  for cores, batch, expected in (
    (1, 16, 4),
    (2, 16, 8),
    (3, 16, 16),
    (1, 6, 6),
  ):
    monkeypatch.setattr(
      'os.sched_getaffinity', lambda _, n=cores: range(n), raising=False
    )
    assert parallel.examples_at_a_time(batch) == expected
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert parallel.examples_at_a_time(16) == 16
