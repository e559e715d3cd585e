"""What benchmarks/gpu counts and compares, on small arrays."""

import functools
import itertools
import pathlib
import types

import jax
import numpy as np
import pytest

from benchmarks.gpu import common, main, science
from configs import qm9_density
from edjax import models
from edjax.data import packed_dataset
from edjax.models import isotropic

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize('kernels', ['isotropic', 'free'])
def test_layers_are_all_products_at_voxels(kernels):
  """Counted by hand: a stem, two blocks, a step down, two local layers."""
  config = qm9_density.get_config('full').model
  config.widths, config.blocks, config.kernels = (32, 32), (1, 1), kernels
  vox = jax.ShapeDtypeStruct((1, 8, 8, 8, 1), 'float32')
  found = common.layers(models.build_model(config, 2), vox)
  # The stem sees blocks of 2^3 voxels and five powers of the input.
  voxels = 4**3
  stem = 10 * 5 if kernels == 'isotropic' else 27 * 8 * 5
  taps = 4 if kernels == 'isotropic' else 27
  down = 8 * 32 * (32 if kernels == 'isotropic' else 8 * 32)
  expected = 2 * (
    voxels * 32 * (stem + 2 * taps * 32 + config.local)
    + down
    + 8 * 32 * (2 * taps * 32 + config.local)
  )
  assert sum(map(common.forward_flops, found)) == expected


def test_the_network_of_the_science_takes_9_gflop():
  config = qm9_density.get_config('full')
  config.update_from_flattened_dict(science._FIELDS)
  size = config.representation.grid_size
  vox = jax.ShapeDtypeStruct((1, size, size, size, 1), 'float32')
  found = common.layers(models.build_model(config.model, 4), vox)
  assert sum(map(common.forward_flops, found)) == pytest.approx(9e9, rel=0.05)


def test_a_step_of_full_takes_what_scaling_says_and_xla_counts():
  """XLA counts what is no product too: a few percent."""
  config = qm9_density.get_config('full')
  size = config.representation.grid_size
  vox = jax.ShapeDtypeStruct((1, size, size, size, 1), 'float32')
  model = models.build_model(config.model, len(config.data.targets))
  counted = common.training_flops(common.layers(model, vox))

  def loss(params, vox):
    return (model.apply(params, vox, train=False) ** 2).sum()

  init = functools.partial(model.init, train=False)
  params = jax.eval_shape(init, jax.random.key(0), vox)
  lowered = jax.jit(jax.grad(loss)).lower(params, vox)
  assert 1 < lowered.cost_analysis()['flops'] / counted < 1.1
  page = (ROOT / 'docs' / 'scaling.md').read_text()
  assert f'| {counted / 1e9:.1f} GFLOP |' in page


@pytest.mark.parametrize('block', [1, 2])
def test_one_convolution_is_the_isotropic_one(block):
  count = len(isotropic.orbit_sizes(3 * block))
  keys = jax.random.split(jax.random.key(0))
  x = jax.random.normal(keys[0], (2, 4, 6, 8, 3))
  kernel = jax.random.normal(keys[1], (count, 3, 5))
  np.testing.assert_allclose(
    main.as_one(x, kernel),
    isotropic.isotropic_conv(x, kernel, block),
    atol=1e-5,
  )


def test_a_slow_machine_packs_what_it_has(tmp_path, monkeypatch):
  """Of molecules in random order, sorted in the pack."""
  clock = itertools.count()
  monkeypatch.setattr(common.Part, 'seconds', lambda _: next(clock))
  monkeypatch.setattr(main, '_TAKING', 10)
  monkeypatch.setattr(main.timing, 'RESULTS', tmp_path)
  monkeypatch.setattr('data_builders.qm9.archive.read', lambda _: range(100))
  closed = []

  def examples(wanted, *_):
    try:
      for i in wanted:
        yield i, example(i)
    finally:
      closed.append(True)

  monkeypatch.setattr('data_builders.molecules.records.examples', examples)
  main.data(types.SimpleNamespace(work=tmp_path, tiny=False, argument=''))
  index = packed_dataset.open_pack(tmp_path / 'pack').index
  assert len(index) == 10
  assert list(index) == sorted(index)
  assert index[-1] > 50
  assert closed == [True]


def example(i):
  """Returns a molecule of one atom."""
  return {
    'example_id': f'gdb_{i}',
    'index': i,
    'numbers': np.array([1]),
    'positions': np.zeros((1, 3)),
    'orbitals': np.zeros(4),
    'n_orbitals': 1,
    'orbital_width': 4,
    'gap': 1.0,
  }
