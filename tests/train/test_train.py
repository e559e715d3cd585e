"""The training step, on devices and without, and the loop around it."""

import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from configs import default
from edjax import config as configuration
from edjax import fields, grid, models, optim
from edjax.config.representation import make_voxelizer
from edjax.data import batching
from edjax.models import conv
from edjax.molecule import Molecule, stack
from edjax.runtime import compile_cache, parallel
from edjax.train import batches, train_step


@pytest.fixture(scope='module')
def small():
  """A resolved configuration and what a step needs, on made-up molecules."""
  config = default.get_config()
  config.data.targets = ('gap', 'mu')
  config.representation.channels = ('atoms', 'density')
  config.representation.density = 'promolecule'
  config.representation.grid_size = 8
  config.representation.spacing = 1.0
  # One stage: its convolutions compile in seconds.
  config.model.widths = (8,)
  config.model.blocks = (0,)
  config.model.local = 8
  config.model.dropout = 0.0
  config.train.batch_size = 8
  config.train.steps = 3
  config = configuration.resolve(config)
  rng = np.random.default_rng(0)
  molecules = jax.device_get(
    stack(
      [
        Molecule.from_arrays(
          rng.choice([1, 6, 7, 8], 5), rng.normal(size=(5, 3)) * 1.5,
          index=i,
        )
        for i in range(16)
      ]
    )
  )  # fmt: skip
  labels = rng.normal(size=(16, 2)).astype(np.float32)
  voxelizer = make_voxelizer(config.representation)
  model = models.build_model(config.model, 2)
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  sample = jax.jit(jax.vmap(voxelizer))(molecules)
  state = train_step.init_state(model, optimizer, 0, sample)
  step = train_step.make_train_step(config, model, optimizer, voxelizer)
  inputs = compile_cache.step_inputs(config, voxelizer)
  return config, molecules, labels, state, step, inputs


def as_type(tree, dtype):
  return jax.tree.map(
    lambda x: x.astype(dtype) if x.dtype.kind == 'f' else x, tree
  )


def tree_error(a, b):
  """Largest difference over all leaves, relative to each leaf's largest."""
  return max(
    float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-3))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def run_on_devices(step, state, molecules, labels, inputs):
  call = parallel.pmap(step)
  out, loss = call(
    parallel.replicate(jax.device_get(state)),
    jax.tree.map(parallel.shard, molecules),
    parallel.shard(labels),
    parallel.replicate(inputs),
  )
  return parallel.unreplicate(out), parallel.unreplicate(loss), out


def test_pmap_equals_vmap(small):
  """4 devices against 4 shares of one device, and against the whole batch."""
  _, molecules, labels, state, step, inputs = small
  on_devices, loss, out = run_on_devices(step, state, molecules, labels, inputs)
  shares = jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  mapped, mapped_loss = jax.jit(shares)(
    state,
    jax.tree.map(parallel.shard, molecules),
    parallel.shard(labels),
    inputs,
  )
  whole, whole_loss = jax.jit(
    jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  )(state, jax.tree.map(lambda x: x[None], molecules), labels[None], inputs)
  first = jax.tree.map(lambda x: np.asarray(x[0]), (mapped, whole))
  assert tree_error(on_devices.params, first[0].params) < 1e-5
  # The whole batch sums in another order: float32 rounding, which Adam's
  # division by small gradients enlarges.
  assert tree_error(on_devices.params, first[1].params) < 1e-3
  np.testing.assert_allclose(loss, mapped_loss[0], rtol=1e-5)
  np.testing.assert_allclose(loss, whole_loss[0], rtol=1e-5)
  # All devices hold the same parameters.
  for leaf in jax.tree.leaves(out.params):
    copies = [np.asarray(s.data) for s in leaf.addressable_shards]
    for copy in copies[1:]:
      np.testing.assert_array_equal(copy, copies[0])
  # Negative control: a step with other labels is another step.
  wrong, *_ = run_on_devices(step, state, molecules, -labels, inputs)
  assert tree_error(wrong.params, first[0].params) > 1e-2


def test_gradients_of_parts_add_up(small, x64, monkeypatch):
  """However many examples a gradient is computed of at a time."""
  config, molecules, labels, *_ = small
  molecules, labels = as_type((molecules, labels), np.float64)
  voxelizer, model = Promolecule(), TwoLayers()
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  sample = jax.jit(jax.vmap(voxelizer.raw))(molecules)
  state = train_step.init_state(model, optimizer, 0, sample)
  state = as_type(jax.device_get(state), np.float64)
  inputs = compile_cache.step_inputs(config, voxelizer)
  found = {}
  for part in (1, 2, len(labels)):
    monkeypatch.setattr(parallel, 'examples_at_a_time', lambda _, n=part: n)
    step = train_step.make_train_step(config, model, optimizer, voxelizer)
    stepped = jax.jit(
      jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
    )(state, jax.tree.map(lambda x: x[None], molecules), labels[None], inputs)
    found[part] = jax.tree.map(lambda x: np.asarray(x[0]), stepped)
  for part in (1, 2):
    (one, loss), (whole, whole_loss) = found[part], found[len(labels)]
    assert tree_error(one.params, whole.params) < 1e-10
    np.testing.assert_allclose(loss, whole_loss, rtol=1e-10)
  assert tree_error(whole.params, state.params) > 1e-3  # it has moved


def test_examples_without_labels_are_as_if_they_were_not_there(small, x64):
  config, molecules, labels, *_ = small
  molecules, labels = as_type((molecules, labels), np.float64)
  voxelizer, model = Promolecule(), TwoLayers()
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  sample = jax.jit(jax.vmap(voxelizer.raw))(molecules)
  state = train_step.init_state(model, optimizer, 0, sample)
  state = as_type(jax.device_get(state), np.float64)
  inputs = compile_cache.step_inputs(config, voxelizer)
  step = train_step.make_train_step(config, model, optimizer, voxelizer)
  stepped = jax.jit(
    jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  )

  def after(rows, labels):
    batch = jax.tree.map(lambda x: x[None, rows], (molecules, labels))
    new, loss = stepped(state, *batch, inputs)
    return jax.tree.map(lambda x: np.asarray(x[0]), (new.params, loss))

  gaps = labels.copy()
  gaps[8:] = np.nan
  (with_gaps, loss), (without, expected) = (
    after(rows, of) for rows, of in ((slice(16), gaps), (slice(8), labels))
  )
  assert tree_error(with_gaps, without) < 1e-10
  np.testing.assert_allclose(loss, expected, rtol=1e-10)
  # The control: their labels count where they have some.
  assert tree_error(after(slice(16), labels)[0], without) > 1e-3


def test_pmap_equals_vmap_in_float64(small, x64):
  """The same program in doubles: only the order of sums may differ."""
  config, molecules, labels, *_ = small
  molecules, labels = as_type((molecules, labels), np.float64)
  voxelizer = Promolecule()
  model = TwoLayers()
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  sample = jax.jit(jax.vmap(voxelizer.raw))(molecules)
  state = train_step.init_state(model, optimizer, 0, sample)
  state = as_type(jax.device_get(state), np.float64)
  step = train_step.make_train_step(config, model, optimizer, voxelizer)
  inputs = compile_cache.step_inputs(config, voxelizer)
  on_devices, loss, _ = run_on_devices(step, state, molecules, labels, inputs)
  shares = jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  mapped, mapped_loss = jax.jit(shares)(
    state,
    jax.tree.map(parallel.shard, molecules),
    parallel.shard(labels),
    inputs,
  )
  mapped = jax.tree.map(lambda x: np.asarray(x[0]), mapped)
  assert mapped.params['Dense_0']['kernel'].dtype == np.float64
  assert tree_error(on_devices.params, mapped.params) < 1e-10
  np.testing.assert_allclose(loss, mapped_loss[0], rtol=1e-10)


class Promolecule:
  """A voxelizer in doubles: `edjax.voxelize` casts to float32."""

  scales = ()
  raw_names = ('one',)

  def raw(self, mol):
    return fields.promolecule_grid(mol, grid.Grid(8, 1.0), b_iso=72.0)[
      ..., None
    ]

  def finish(self, vox_XYZC, scale_C):
    del scale_C  # ones
    return vox_XYZC


class TwoLayers(nn.Module):
  """A convolution and a dense layer, in the dtype of their input."""

  @nn.compact
  def __call__(self, vox_BXYZC, train):
    del train
    x = conv.Conv3D(4, 3, dtype=vox_BXYZC.dtype)(vox_BXYZC)
    return nn.Dense(2, dtype=x.dtype)(jnp.tanh(x).mean((1, 2, 3)))


def make_call_inputs(config, molecules, labels, on_device, first=0):
  n = len(labels)
  indices = np.stack(
    [
      batching.batch_indices(0, first + i, n, config.train.batch_size)
      for i in range(2)
    ]
  )
  split = np.swapaxes(parallel.shard(indices.T), 1, 2)
  if on_device:
    return parallel.replicate((molecules, labels)), split
  data = molecules, labels
  return (jax.tree.map(lambda x: x[split], data),)


def test_data_on_the_device_and_sent_are_the_same(small):
  config, molecules, labels, state, step, inputs = small
  inputs = parallel.replicate(inputs)
  out = []
  for on_device in (True, False):
    call = train_step.make_train_call(step, on_device)
    data = make_call_inputs(config, molecules, labels, on_device)
    new, losses_S = call(
      parallel.replicate(jax.device_get(state)), *data, inputs
    )
    assert parallel.unreplicate(losses_S).shape == (2,)
    out.append(parallel.unreplicate(new))
  assert int(out[0].step) == 2
  assert tree_error(out[0].params, out[1].params) < 1e-6


def test_two_steps_in_a_call_are_two_calls(small):
  config, molecules, labels, state, step, inputs = small
  inputs = parallel.replicate(inputs)
  call = train_step.make_train_call(step, True)
  data, indices = make_call_inputs(config, molecules, labels, True)
  start = parallel.replicate(jax.device_get(state))
  both, losses_S = call(start, data, indices, inputs)
  one, first = call(start, data, indices[:, :1], inputs)
  two, second = call(one, data, indices[:, 1:], inputs)
  error = tree_error(
    parallel.unreplicate(both).params, parallel.unreplicate(two).params
  )
  assert error < 1e-5
  np.testing.assert_allclose(
    parallel.unreplicate(losses_S),
    [parallel.unreplicate(first)[0], parallel.unreplicate(second)[0]],
    rtol=1e-5,
  )


def make_feed_task(molecules, labels):
  rows = np.arange(len(labels))
  return types.SimpleNamespace(
    rows={'train': rows},
    molecules={'train': molecules},
    labels=types.SimpleNamespace(values_NT=labels),
  )


def test_steps_of_a_call_are_fed_by_indices_alone(small):
  """Data lie on every device once; a call brings 4 bytes an example."""
  config, molecules, labels, *_ = small
  config = ConfigDict(config).copy_and_resolve_references()
  config.train.steps_per_call = 5
  task = make_feed_task(molecules, labels)
  on_device, feed = batches.make_feed(config, task)
  assert on_device
  data, indices = feed(0)
  again, later = feed(5)
  devices = set(jax.local_devices())
  for leaf, same in zip(
    jax.tree.leaves(data), jax.tree.leaves(again), strict=True
  ):
    assert leaf is same
    assert leaf.devices() == devices
  shape = len(devices), 5, config.train.batch_size // len(devices)
  assert indices.shape == later.shape == shape
  assert indices.nbytes == 4 * 5 * config.train.batch_size
  # The same examples as five calls of one step would get.
  for i in range(5):
    wanted = batching.batch_indices(0, 5 + i, 16, 8)
    np.testing.assert_array_equal(later[:, i].ravel(), wanted)
  # Negative control: data that may not lie there are sent, each batch.
  config.train.device_data_gib = 0.0
  on_device, feed = batches.make_feed(config, task)
  assert not on_device
  sent = sum(x.nbytes for x in jax.tree.leaves(feed(0)))
  assert sent > 10 * indices.nbytes


def test_one_compilation_in_three_steps(small):
  config, molecules, labels, state, step, inputs = small
  inputs = parallel.replicate(inputs)
  call = train_step.make_train_call(step, True)
  state = parallel.replicate(jax.device_get(state))
  data = parallel.replicate((molecules, labels))
  count = []

  def listen(event, *_, **__):
    if event == '/jax/core/compile/backend_compile_duration':
      count.append(event)

  for i in range(3):
    indices = batching.batch_indices(0, i, 16, config.train.batch_size)
    indices = np.swapaxes(parallel.shard(indices[None].T), 1, 2)
    jax.monitoring.register_event_duration_secs_listener(listen)
    state, _ = call(state, data, indices, inputs)
    jax.block_until_ready(state)
    jax.monitoring.unregister_event_duration_listener(listen)
  assert len(count) == 1


def operations(compiled) -> set[str]:
  """Names of the operations of a compiled program."""
  return set(re.findall(r' ([a-z-]+)\(', compiled.as_text()))


# Between devices, or between a device and the host.
TRAFFIC = {
  'all-gather', 'all-to-all', 'collective-broadcast', 'collective-permute',
  'infeed', 'outfeed', 'recv', 'reduce-scatter', 'send',
}  # fmt: skip


def test_a_call_moves_sums_between_devices_and_nothing_else(small):
  """Guards against what JAX's page on migrating from pmap warns of.

  See docs.jax.dev/en/latest/migrate_pmap.html.
  """
  _, molecules, labels, state, step, inputs = small
  call = train_step.make_train_call(step, True)
  indices = np.swapaxes(
    parallel.shard(batching.batch_indices(0, 0, 16, 8)[None].T), 1, 2
  )
  state, data, inputs = parallel.replicate(
    jax.device_get((state, (molecules, labels), inputs))
  )
  indices = jax.device_put(indices, data[1].sharding)
  compiled = call.lower(state, data, indices, inputs).compile()
  used = operations(compiled)
  assert 'all-reduce' in used
  assert not used & TRAFFIC
  # Arguments stay where they are, and none is given up to the outputs.
  assert 'input_output_alias' not in compiled.as_text()
  (came, *_), _ = compiled.input_shardings
  for leaf, went in zip(
    jax.tree.leaves(came, is_leaf=lambda x: x is None),
    jax.tree.leaves(compiled.output_shardings[0]),
    strict=True,
  ):
    assert leaf in (None, went)  # None: the program does not read it
  with jax.transfer_guard('disallow'):
    for _ in range(2):
      state, _ = call(state, data, indices, inputs)
  # Negative control.
  gather = parallel.pmap(lambda x: jax.lax.all_gather(x, parallel.AXIS))
  assert operations(gather.lower(indices).compile()) & TRAFFIC


def test_memorises_a_batch(small):
  """Two hundred steps on eight molecules at rest: the loss falls far."""
  config, molecules, labels, *_ = small
  changed = ConfigDict(config).copy_and_resolve_references()
  changed.augment.rotate = False
  changed.optim.loss = 'mse'
  changed.optim.learning_rate = 3e-3
  voxelizer = make_voxelizer(config.representation)
  model = models.build_model(changed.model, 2)
  optimizer = optim.make_optimizer(changed.optim, 150)
  step = train_step.make_train_step(changed, model, optimizer, voxelizer)
  sample = jax.jit(jax.vmap(voxelizer))(molecules)
  state = train_step.init_state(model, optimizer, 0, sample)
  eight = jax.tree.map(lambda x: x[None, :8], (molecules, labels))
  one = jax.jit(
    jax.vmap(step, in_axes=(None, 0, 0, None), axis_name=parallel.AXIS)
  )
  inputs, losses = compile_cache.step_inputs(changed, voxelizer), []
  for _ in range(150):
    state, loss = one(state, *eight, inputs)
    state = jax.tree.map(lambda x: x[0], state)
    losses.append(float(loss[0]))
  assert losses[-1] < 0.02 * losses[0]
  assert jnp.isfinite(losses[-1])
