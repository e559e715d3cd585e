"""The parts of the GPU benchmark that time training."""

import contextlib
import importlib
import re
import time
from unittest import mock

import jax
import numpy as np

from benchmarks.gpu import common
from edjax import config as configurations
from edjax import models
from edjax import task as tasks
from edjax.data import batching, loading, packed_dataset
from edjax.evaluate import predicting
from edjax.runtime import compile_cache, parallel
from edjax.train import batches, train_step

# Fields of the timed configurations: a tenth of the molecules, since the
# baselines of all take longer than what is measured.
_TIMED = {
  'data.split': 'random', 'data.train_size': 0.1, 'data.max_eval': 256,
  'model.input_moments': False,  # which PyTorch's network does not have
}  # fmt: skip
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


def configuration(name: str, tiny: bool, changes=None):
  """Resolves a configuration of configs/ for the pack.

  Args:
    name: file and variant.
    tiny: a small grid, network and batch.
    changes: values of fields, beside or instead of `_TIMED`.

  Returns:
    Resolved.
  """
  module, _, variant = name.partition(':')
  config = importlib.import_module(f'configs.{module}').get_config(variant)
  config.update_from_flattened_dict(_TIMED | (changes or {}))
  if tiny:
    config.data.train_size = 64.0
    config.data.max_eval = 16
    config.representation.grid_size = 16
    config.model.widths = tuple(w // 8 for w in config.model.widths)
    config.train.batch_size = 4
    config.train.steps_per_call = 2
    config.eval.batch_size = 16
  return configurations.resolve(config)


class Run:
  """A configuration before training: data placed, nothing compiled."""

  def __init__(self, part, config):
    self.config = config
    with pack_of(part):
      self.task = tasks.make_task(config)
    self.fresh = train_step.fresh_state(config, self.task)
    self.voxelizer = compile_cache.bare(self.task.voxelizer)
    self.on_device, self.feed = batches.make_feed(config, self.task)
    self.inputs = compile_cache.step_inputs(config, self.task.voxelizer)
    self.batch = config.train.batch_size
    self.per_call = config.train.steps_per_call
    shape = self.batch, *self.task.sample_BXYZC.shape[1:]
    self.voxels = jax.ShapeDtypeStruct(shape, 'float32')
    self.layers = common.layers(self.task.model, self.voxels)

  def first(self) -> float:
    """Compiles a call; measures its seconds with that."""
    begin = time.perf_counter()
    compiled = train_step.compile_call(
      self.config, self.task.model, self.voxelizer, self.on_device
    )
    inputs = parallel.replicate(self.inputs)
    self.call = lambda state, step: compiled(state, *self.feed(step), inputs)
    self.state, loss = self.call(parallel.replicate(self.fresh), 0)
    jax.block_until_ready(loss)
    return time.perf_counter() - begin

  def seconds(self) -> float:
    """Measures seconds a step; the next call is prepared while one runs."""
    number, before = 1, None
    begin = time.perf_counter()
    while number < 3 or time.perf_counter() - begin < common.SECONDS:
      self.state, loss = self.call(self.state, number * self.per_call)
      if before is not None:
        jax.block_until_ready(before)
      else:  # the state that a first call left may be laid out differently
        jax.block_until_ready(loss)
        begin = time.perf_counter()
      number, before = number + 1, loss
    jax.block_until_ready(loss)
    return (time.perf_counter() - begin) / (number - 2) / self.per_call


def timed_steps(part, table, config) -> tuple[Run, float]:
  """Takes the first steps; returns the run and the seconds of later ones."""
  run = Run(part, config)
  table.row('until the data are placed', part.seconds(), 's', '', '', '')
  table.row('first call', run.first(), 's', '', '', 'with compilation')
  table.row('until the first loss', part.seconds(), 's', '', '', '')
  seconds, half = run.seconds(), config.model.dtype == 'bfloat16'
  arithmetic = common.training_flops(run.layers)
  arithmetic /= part.rate('bf16' if half else 'f32')
  moved = common.training_bytes(run.layers, 2 if half else 4)
  moved /= part.rate('bandwidth')
  table.row(
    'a step', 1e3 * seconds, 'ms', 1e3 * arithmetic, 1e3 * moved,
    f'{arithmetic / seconds:.0%} of the matrix rate',
  )  # fmt: skip
  table.row(
    'throughput', run.batch / seconds, 'molecules/s', run.batch / arithmetic,
    run.batch / moved, f'batch {run.batch}, {run.per_call} steps a call',
  )  # fmt: skip
  return run, seconds


def train(options) -> None:
  """Times and profiles a step; times the voxelizer alone."""
  part = common.Part(options, f'Training, {options.argument}')
  config, table = configuration(part.argument, part.tiny), part.table()
  run, seconds = timed_steps(part, table, config)
  part.keep(f'train-{part.argument}', {'seconds': seconds})
  try:
    _profile(part, table, run)
  except Exception as error:  # what comes next does not need it
    table.text('', f'No profile: {error}')
  if config.representation.channels == ('atoms',):  # the peer's input
    _export(part, run)
  alone = _voxelising(run)
  written = 4 * float(np.prod(run.voxels.shape)) / part.rate('bandwidth')
  table.head(common.COLUMNS)
  table.row(
    'voxelising alone', 1e3 * alone, 'ms', '', 1e3 * written,
    f'{alone / seconds:.0%} of a step',
  )  # fmt: skip


def launch(options) -> None:
  """Times a second launch, whose programs are compiled already."""
  part = common.Part(options, f'Second launch, {options.argument}')
  timed_steps(part, part.table(), configuration(part.argument, part.tiny))


def _voxelising(run) -> float:
  """Measures the seconds of turning and voxelising a batch."""
  molecules = batching.take(run.task.molecules['train'], np.arange(run.batch))
  voxels = jax.jit(
    lambda molecules: predicting.voxels(
      predicting.motions_of(run.config), run.voxelizer, molecules, 0, run.inputs
    )
  )
  return common.repeated(voxels, jax.device_put(molecules))


def _export(part, run) -> None:
  """Writes inputs of the PyTorch peer and what the weights must predict."""
  model, molecules = run.config.model.to_dict(), run.task.molecules['train']
  rng = np.random.default_rng(0)
  # The last layers start at zero: with noise, all weights count.
  params = jax.tree.map(
    lambda x: (x + rng.normal(0, 0.02, x.shape)).astype(np.float32),
    run.fresh.params,
  )
  exact = models.build_model(
    {**model, 'dtype': 'float32'}, len(run.config.data.targets)
  )
  vox_BXYZC = run.task.sample_BXYZC[:4]
  with jax.default_matmul_precision('highest'):
    wanted = jax.jit(lambda p, vox: exact.apply({'params': p}, vox, False))(
      params, vox_BXYZC
    )
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
      'model': model,
      'representation': run.config.representation.to_dict(),
      'scales': run.task.voxelizer.scales,
      'batch': run.batch,
    },
  )


def _profile(part, table, run) -> None:
  """Profiles a call by kind of kernel and by kernel."""
  directory = part.work / f'profile-{part.argument}'
  with jax.profiler.trace(str(directory)):
    jax.block_until_ready(run.call(run.state, 0))
  files = sorted(directory.rglob('*.xplane.pb'))
  planes = list(jax.profiler.ProfileData.from_file(str(files[-1])).planes)
  devices = [p for p in planes if p.name.startswith('/device:')]
  spent: dict[str, float] = {}
  for line in (line for p in devices or planes for line in p.lines):
    # Other lines of a device repeat its streams by operation and module.
    if devices and not line.name.startswith('Stream'):
      continue
    for event in line.events:
      name = dict(event.stats).get('hlo_op', '')
      if devices:
        name = f'{name} {event.name}'
      elif not name or re.match(_CONTAINERS, name):
        continue
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
