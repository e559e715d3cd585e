"""The parts of the GPU benchmark that train."""

import contextlib
import importlib
import os
import pathlib
import re
import subprocess
import sys
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import steps
from benchmarks.gpu import common
from benchmarks.robustness import faults
from edjax import commands, optim
from edjax import config as configurations
from edjax import task as tasks
from edjax.data import loading, packed_dataset
from edjax.kernels.numerics import batched
from edjax.runtime import checkpoint, compile_cache, parallel
from edjax.train import batches, train_and_evaluate, train_step
from edjax.voxelize import voxel_chunk

# Seconds that the steps of the real training run take.
_REAL_SECONDS = 40.0
# Operations that contain others, in a profile of a CPU.
_CONTAINERS = r'^(while|cond|call|conditional)\b'
# Kinds of kernels of a profile, in this order.
_KINDS = {
  'convolutions': r'conv(?!ert)|fprop|dgrad|wgrad|implicit',
  'matrix products': r'gemm|dot|matmul|cublas|nvjet',
  'copies and transposes': r'copy|transpose|memcpy|nchw|nhwc',
  'fused elementwise, reductions': r'fusion|reduce|loop_|input_',
}


@contextlib.contextmanager
def pack_of(part):
  """Lets runs read the pack of the work directory, whatever they name."""
  opened = packed_dataset.open_pack(part.pack)
  with mock.patch.object(loading, 'load_pack', return_value=opened):
    yield


def configuration(name: str, tiny: bool, **changes):
  """Resolves a QM9 configuration of configs/ for all molecules of the pack.

  Args:
    name: file and variant.
    tiny: a small grid, network and batch.
    **changes: fields of the configuration, dots written as `__`.

  Returns:
    Resolved.
  """
  module, _, variant = name.partition(':')
  config = importlib.import_module(f'configs.{module}').get_config(variant)
  config.data.split = 'random'
  config.data.train_size = 1.0
  config.data.max_eval = 16 if tiny else 1000
  if tiny:
    config.data.train_size = 64.0
    config.representation.grid_size = 16
    config.model.widths = tuple(w // 8 for w in config.model.widths)
    config.train.batch_size = 4
    config.train.steps_per_call = 2
    config.eval.batch_size = 16
  for field, value in changes.items():
    group, name = field.split('__')
    config[group][name] = value
  return configurations.resolve(config)


class Run:
  """A configuration before training: data placed, nothing compiled."""

  def __init__(self, part):
    self.config = configuration(part.argument, part.tiny)
    with pack_of(part):
      self.task = tasks.make_task(self.config)
      self.fresh = train_step.fresh_state(self.config, self.task)
    self.on_device, feed = batches.make_feed(self.config, self.task)
    inputs = parallel.replicate(
      compile_cache.step_inputs(self.config, self.task.voxelizer)
    )
    self.feed = lambda step: (*feed(step), inputs)
    self.per_call = self.config.train.steps_per_call
    self.batch = self.config.train.batch_size
    self.shape = (self.batch, *self.task.sample_BXYZC.shape[1:])

  def call(self):
    """Returns the steps as one program, not yet compiled."""
    return train_step.compile_call(
      self.config,
      self.task.model,
      compile_cache.bare(self.task.voxelizer),
      self.on_device,
    )

  def first(self, call, feed) -> tuple[float, object]:
    """Measures the seconds of the first call; returns the state too."""
    begin = time.perf_counter()
    state, loss = call(parallel.replicate(self.fresh), *feed(0))
    jax.block_until_ready(loss)
    return time.perf_counter() - begin, state

  def seconds(self, call, state, feed) -> float:
    """Measures seconds a step; the next call is prepared while one runs."""
    number, before = 1, None
    begin = time.perf_counter()
    while number < 3 or time.perf_counter() - begin < common.SECONDS:
      state, loss = call(state, *feed(number * self.per_call))
      if before is not None:
        jax.block_until_ready(before)
      else:  # the state that a first call left may be laid out differently
        jax.block_until_ready(loss)
        begin = time.perf_counter()
      number, before = number + 1, loss
    jax.block_until_ready(loss)
    return (time.perf_counter() - begin) / (number - 2) / self.per_call


def throughput(options):
  """Times whole steps beside their floors.

  Returns:
    (part, table, run, call, state, seconds of a step).
  """
  commands.cache_compiled()
  name = ', '.join(filter(None, (options.argument, options.label)))
  part = common.Part(options, f'Training, {name}')
  table = part.table()
  run = Run(part)
  table.row('until the data are placed', part.seconds(), 's', '', '', '')
  call = run.call()
  first, state = run.first(call, run.feed)
  table.row('first call', first, 's', '', '', 'with compilation')
  table.row('until the first loss', part.seconds(), 's', '', '', '')
  seconds = run.seconds(call, state, run.feed)
  arithmetic, moved = _floors(part, run)
  table.row(
    'a step', 1e3 * seconds, 'ms', 1e3 * arithmetic, 1e3 * moved,
    f'{arithmetic / seconds:.0%} of the matrix rate',
  )  # fmt: skip
  table.row(
    'throughput', run.batch / seconds, 'molecules/s', run.batch / arithmetic,
    run.batch / moved, f'batch {run.batch}, {run.per_call} steps a call',
  )  # fmt: skip
  part.keep(f'train-{name}', {'seconds': seconds})
  return part, table, run, call, state, seconds


def _floors(part, run) -> tuple[float, float]:
  """Returns the least seconds of the convolutions' arithmetic and bytes."""
  every = common.layers(
    run.task.model, jax.ShapeDtypeStruct(run.shape, 'float32')
  )
  half = run.config.model.dtype == 'bfloat16'
  rate = part.rate('bf16' if half else 'f32')
  moved = common.training_bytes(every, 2 if half else 4)
  return common.training_flops(every) / rate, moved / part.rate('bandwidth')


def train(options) -> None:
  """Profiles a step; times the voxelizer and steps on ready voxels."""
  part, table, run, call, state, seconds = throughput(options)
  _export(part, run)
  voxels = _voxelising(run)
  written = 4 * float(np.prod(run.shape)) / part.rate('bandwidth')
  table.row(
    'voxelising alone', 1e3 * voxels, 'ms', '', 1e3 * written,
    f'{voxels / seconds:.0%} of a step',
  )  # fmt: skip
  ready = _on_ready_voxels(part, run)
  table.row(
    'a step on voxels made beforehand', 1e3 * ready, 'ms',
    *(1e3 * floor for floor in _floors(part, run)),
    f'{1 - ready / seconds:.0%} of a step is voxelising',
  )  # fmt: skip
  _profile(part, table, run, call, state)


def launch(options) -> None:
  """Times a second launch, whose program is compiled already."""
  commands.cache_compiled()
  part = common.Part(options, f'Second launch, {options.argument}')
  table = part.table(('what', 'seconds'))
  run = Run(part)
  table.row('until the data are placed', part.seconds())
  first, _ = run.first(run.call(), run.feed)
  table.row('first call', first)
  table.row('until the first loss', part.seconds())


def _voxelising(run) -> float:
  """Measures the seconds of turning and voxelising a batch."""

  def sums(molecules, indices_SB):
    key = jax.random.key(0)

    def body(total, indices_B):
      chosen = jax.tree.map(lambda x: x[indices_B], molecules)
      moved = jax.vmap(
        lambda mol: train_step.augment(key, mol, run.config.augment.rotate, 0.0)
      )(chosen)
      chunk = voxel_chunk(run.task.voxelizer, moved)
      return total + batched(run.task.voxelizer, chunk)(moved).sum(), None

    return jax.lax.scan(body, jnp.zeros(()), indices_SB)[0]

  molecules = jax.device_put(
    jax.tree.map(lambda x: x[: 8 * run.batch], run.task.molecules['train'])
  )
  n = len(molecules.numbers_A)
  order = np.random.default_rng(0).integers(0, n, (run.per_call, run.batch))
  call = jax.jit(sums)
  return common.repeated(call, molecules, jnp.asarray(order)) / run.per_call


def _on_ready_voxels(part, run) -> float:
  """Measures the seconds of a step that only reads its voxels."""
  still = configuration(
    part.argument, part.tiny, augment__rotate=False, eval__rotations=1
  )
  sample_BXYZC = run.task.sample_BXYZC
  n = len(sample_BXYZC)
  voxels = steps.Voxels(np.arange(n, dtype=np.uint32), sample_BXYZC)
  labels_NT = run.task.labels.values_NT[run.task.rows['train'][:n]]
  placed = parallel.replicate((voxels, labels_NT))
  order = np.random.default_rng(0).integers(0, n, (run.per_call, run.batch))
  indices = np.stack([order.astype(np.int32)] * jax.local_device_count())
  call = steps.on_voxels(
    still, run.task.model, optim.make_optimizer(still.optim, still.train.steps)
  )

  def feed(_):
    return placed, indices

  _, state = run.first(call, feed)
  return run.seconds(call, state, feed)


def _export(part, run) -> None:
  """Writes inputs of the PyTorch peer and what the weights must predict."""
  model = configuration(part.argument, part.tiny).model
  size = run.config.representation
  molecules = run.task.molecules['train']
  rng = np.random.default_rng(0)
  # The last layers start at zero: with noise, all weights count.
  params = jax.tree.map(
    lambda x: (x + rng.normal(0, 0.02, x.shape)).astype(np.float32),
    run.fresh.params,
  )
  exact = tasks.models.build_model(
    {**model, 'dtype': 'float32'}, len(run.config.data.targets)
  )
  vox_BXYZC = run.task.sample_BXYZC[:4]
  with jax.default_matmul_precision('highest'):
    wanted = exact.apply({'params': params}, vox_BXYZC, train=False)
  flat = {
    '/'.join(key.key for key in path): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  np.savez(
    part.work / f'peer-{part.argument}.npz',
    numbers=molecules.numbers_A,
    coords=molecules.coords_A3,
    labels=run.task.labels.values_NT[run.task.rows['train']],
    vox=vox_BXYZC,
    wanted=np.asarray(wanted),
    **{f'param:{name}': value for name, value in flat.items()},
  )
  part.keep(
    f'peer-{part.argument}',
    {
      'grid_size': size.grid_size,
      'spacing': size.spacing,
      'widths': model.widths,
      'blocks': model.blocks,
      'local': model.local,
      'kernels': model.kernels,
      'stem': model.stem,
      'head_width': model.head_width,
      'dropout': model.dropout,
      'bfloat16': model.dtype == 'bfloat16',
      'batch': run.batch,
      'tiny': part.tiny,
      'per_call': run.per_call,
    },
  )


def _profile(part, table, run, call, state) -> None:
  """Profiles a call by kind of kernel and by kernel."""
  directory = part.work / f'profile-{part.argument}'
  with jax.profiler.trace(str(directory)):
    state, loss = call(state, *run.feed(0))
    jax.block_until_ready(loss)
  files = sorted(directory.rglob('*.xplane.pb'))
  planes = jax.profiler.ProfileData.from_file(str(files[-1])).planes
  spent: dict[str, float] = {}
  for plane in planes:
    on_device = plane.name.startswith('/device:')
    for line in plane.lines:
      # Other lines of a device repeat its streams by operation and module.
      if on_device and not line.name.startswith('Stream'):
        continue
      for event in line.events:
        operation = dict(event.stats).get('hlo_op', '')
        if on_device or (operation and not re.match(_CONTAINERS, operation)):
          name = f'{operation} {event.name}' if on_device else operation
          spent[name] = spent.get(name, 0.0) + event.duration_ns
  total = sum(spent.values())
  if not total:
    raise RuntimeError(f'{files[-1]} holds no kernels')
  table.text('', 'Profile of one call: kernels by kind, then the longest ones.')
  table.head(('kind or kernel', 'ms a step', 'share'))
  kinds = dict.fromkeys([*_KINDS, 'other'], 0.0)
  for name, nanoseconds in spent.items():
    matching = (
      k for k, pattern in _KINDS.items() if re.search(pattern, name, re.I)
    )
    kinds[next(matching, 'other')] += nanoseconds
  longest = sorted(spent.items(), key=lambda item: -item[1])[:15]
  for name, nanoseconds in [*kinds.items(), *longest]:
    table.row(
      name.replace('|', ' ')[:100], nanoseconds / 1e6 / run.per_call,
      f'{nanoseconds / total:.1%}',
    )  # fmt: skip


def real(options) -> None:
  """Trains briefly at scale, with validation and test."""
  commands.cache_compiled()
  part = common.Part(options, f'A short run, {options.argument}')
  table = part.table(
    ('target', 'unit', 'test MAE', 'of a linear fit', 'ratio'),
    ['Too short a run to be compared with anything but itself.'],
  )
  each = part.facts(f'train-{part.argument}').get('seconds', 0.1)
  count = 4 if part.tiny else max(200, 100 * int(_REAL_SECONDS / each / 100))
  config = configuration(
    part.argument, part.tiny, train__steps=count, train__eval_every=count // 2,
    train__checkpoint_every=count // 2, eval__rotations=2, eval__bootstrap=100,
  )  # fmt: skip
  with pack_of(part):
    results = train_and_evaluate(config, part.work / 'run')
  for name, entry in results['targets'].items():
    linear = entry['baselines'][results['reference']]['mae']['value']
    mae = entry['mae']['value']
    table.row(name, entry['unit'], mae, linear, mae / linear)
  done = count * config.train.batch_size
  table.text(
    '',
    f'{count} steps of {config.train.batch_size} in {results["seconds"]} s '
    f'with compilation and evaluation: {done / results["seconds"]:.0f} '
    'molecules a second in all.',
  )
  table.text('', _restored_on_cpu(part.work / 'run'))


# Prints the digest of a run's checkpoint, in a process without accelerator.
_RESTORE = """
import pathlib, sys
from benchmarks.robustness import faults
from edjax.runtime import checkpoint
step, arrays = faults.weights(pathlib.Path(sys.argv[1]), 'latest')
print(step, checkpoint.digest(arrays, {}))
"""


def _restored_on_cpu(run: pathlib.Path) -> str:
  """Compares the last state of a run, as read on a CPU and beside a device."""
  step, arrays = faults.weights(run, 'latest')
  restored = subprocess.run(
    (sys.executable, '-c', _RESTORE, str(run)),
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    check=False,
  )
  same = restored.stdout.split() == [str(step), checkpoint.digest(arrays, {})]
  return (
    f'The checkpoint of step {step}, written beside {jax.default_backend()}, '
    + ('is' if same else 'IS NOT')
    + ' the same to a process that has CPUs alone.'
    + ('' if same else f' {restored.stderr[-500:]}')
  )
