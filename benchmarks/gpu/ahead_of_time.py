"""Compiles training steps for TPUs and GPUs, without one.

  python -m benchmarks.gpu.ahead_of_time CHIP [CONFIG ...] \
    [--devices N] [--batch B]

CHIP is one of CHIPS; CONFIG a file of configs/ and its variant, such as
qm9_density:full. Needs the packages that drive such a chip, in an environment
of its own, and not the chip:

  pip install -r requirements.txt -r benchmarks/peers/tpu.txt    # or cuda.txt

JAX compiles ahead of time for a topology that is described to it, and returns
the program that the chip would run. The table has the memory that it plans and
the bytes that its kernels read and write. Nothing runs: compiling is the only
time that is measured, and milliseconds follow from the rates of the data sheet.

The embedded molecules stand in for QM9's, since only shapes are compiled;
PDBbind's complexes are those of --manual_dir.
"""

import argparse
import collections
import dataclasses
import functools
import importlib
import os
import re
import time
from importlib import metadata
from unittest import mock

# JAX must not look for the chip, nor libtpu for the cloud around it.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['TPU_SKIP_MDS_QUERY'] = '1'

import jax
import numpy as np
from jax.experimental import topologies

from benchmarks import timing
from benchmarks.gpu import common
from edjax import config as configurations
from edjax import models, optim
from edjax import task as tasks
from edjax.config.representation import make_voxelizer
from edjax.runtime import compile_cache, parallel
from edjax.train import train_step


@dataclasses.dataclass(frozen=True)
class Chip:
  """An accelerator, from its data sheet.

  Attributes:
    platform: 'tpu' or 'cuda'.
    topology: of `topologies.get_topology_desc`; for CUDA the memory of
      `_HOPPER` in bytes.
    memory: bytes.
    rate: bf16 products with float32 sums, dense, FLOP/s.
    bandwidth: of the memory, bytes/s.
  """

  platform: str
  topology: str
  memory: float
  rate: float
  bandwidth: float

  @property
  def backend(self) -> str:
    """Returns the name in `jax.default_backend`."""
    return 'gpu' if self.platform == 'cuda' else self.platform


# TPUs: Google Cloud's pages 'TPU v5e' and 'TPU v6e', table 'Key chip
# specifications'. GPUs: NVIDIA's data sheets of the H100 and the H200, SXM.
CHIPS = {
  'v5e': Chip('tpu', 'v5e:2x2', 16e9, 197e12, 819e9),
  'v6e': Chip('tpu', 'v6e:2x2', 32e9, 918e12, 1640e9),
  'h100': Chip('cuda', '84942979072', 80e9, 989e12, 3.35e12),
  'h200': Chip('cuda', '151397597184', 141e9, 989e12, 4.8e12),
}

# Limits of compute capability 9.0 (CUDA C++ Programming Guide, 'Technical
# Specifications per Compute Capability'), by which XLA knows a device.
_HOPPER = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  core_count: 132
  fpus_per_core: 128
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  memory_bandwidth: {bandwidth:.0f}
  device_memory_size: {memory}
  cuda_compute_capability {{ major: 9 }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 8 }}
device_description_str: "described, not there"
"""

_DRIVERS = {'tpu': 'libtpu', 'cuda': 'jax-cuda12-plugin'}
# Voxels along the edge of the grid on which a task's molecules are set up.
_EDGE = 16
# XLA's options: Triton's matrix products are chosen by timing them.
_OPTIONS = {'tpu': {}, 'cuda': {'xla_gpu_enable_triton_gemm': False}}
_BYTES = {
  'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4,
  'f32': 4, 's64': 8, 'u64': 8, 'f64': 8,
}  # fmt: skip
_ARRAY = re.compile(rf'({"|".join(_BYTES)})\[([\d,]*)\]')
_INSTRUCTION = re.compile(
  r'^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([\w\-]+)\((.*)', re.MULTILINE
)
# Instructions that move nothing.
_FREE = ('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast')


def devices_of(chip: Chip, count: int) -> list:
  """Returns descriptions of so many chips."""
  if chip.platform == 'tpu':
    every = topologies.get_topology_desc(chip.topology, 'tpu').devices
  else:
    config = _HOPPER.format(memory=chip.topology, bandwidth=chip.bandwidth)
    every = topologies.get_topology_desc(
      platform='cuda', target_config=config, topology=f'1x1x{count}'
    ).devices
  return list(every[:count])


def configuration(name: str, options, edge: int = 0):
  """Resolves a configuration, with the embedded molecules in place of QM9.

  Args:
    name: file of configs/ and variant.
    options: of the command.
    edge: voxels along the edge of its box; 0 for its own.

  Returns:
    Resolved.
  """
  module, _, variant = name.partition(':')
  make = importlib.import_module(f'configs.{module}').get_config
  config, plain = make(variant), make('')
  if config.data.name != plain.data.name:  # the embedded molecules
    for field in ('name', 'split', 'targets'):
      config.data[field] = plain.data[field]
    config.data.train_size = 64.0
    config.data.max_eval = 16
  config.train.steps_per_call = 1
  if options.batch:
    config.train.batch_size = options.batch
  if options.data_dir:
    config.data.data_dir = options.data_dir
  config.data.manual_dir = options.manual_dir
  if edge:
    extent = config.representation.grid_size * config.representation.spacing
    config.representation.grid_size = edge
    config.representation.spacing = extent / edge
  return configurations.resolve(config)


class Step:
  """A training step of a configuration, with shapes in the place of data."""

  def __init__(self, name: str, options, devices: list):
    self.config = configuration(name, options)
    # For shapes of molecules, which do not depend on the number of voxels.
    task = tasks.make_task(configuration(name, options, _EDGE))
    channels = task.sample_BXYZC.shape[-1]
    voxelizer = make_voxelizer(self.config.representation)
    targets = task.labels.values_NT[task.rows['train']].astype(np.float32)
    model = models.build_model(self.config.model, targets.shape[1])
    optimizer = optim.make_optimizer(self.config.optim, self.config.train.steps)
    size = self.config.representation.grid_size
    self.count = len(devices)
    self.each = self.config.train.batch_size // self.count
    shape = self.each, size, size, size, channels
    voxels = jax.ShapeDtypeStruct(shape, np.float32)
    state = jax.eval_shape(
      functools.partial(train_step.init_state, model, optimizer, 0),
      voxels,
    )
    step = train_step.make_train_step(self.config, model, optimizer, voxelizer)
    mapped = functools.partial(parallel.pmap, devices=devices)
    with mock.patch.object(parallel, 'pmap', mapped):
      call = train_step.make_train_call(step, on_device=True)
    data = task.molecules['train'], targets
    inputs = compile_cache.step_inputs(self.config, voxelizer)
    shapes = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((self.count, *x.shape), x.dtype),
      (state, data, inputs),
    )
    indices = jax.ShapeDtypeStruct((self.count, 1, self.each), np.int32)
    state, data, inputs = shapes
    self.layers = common.layers(model, voxels)
    self.lowered = call.lower(state, data, indices, inputs)


def traffic(text: str) -> collections.Counter:
  """Counts the bytes that the kernels of a program read and write, by kind.

  Args:
    text: of a compiled program. Loops and branches of its entry count with
      their operands and results alone.

  Returns:
    'convolutions', 'matrix products', 'reductions' (kernels whose name says
    so), 'others' -> bytes.
  """
  entry = text[text.index('\nENTRY') :]
  sizes, moved = {}, collections.Counter()
  for name, shape, operation, rest in _INSTRUCTION.findall(entry):
    sizes[name] = _bytes(shape)
    if operation in _FREE:
      continue
    operands = re.findall(r'%([\w.\-]+)', rest.partition('), ')[0])
    kind = 'others'
    if '__cudnn$conv' in rest:
      kind = 'convolutions'
    elif '__cublas' in rest or operation == 'dot':
      kind = 'matrix products'
    elif 'reduce' in name:
      kind = 'reductions'
    moved[kind] += sizes[name] + sum(sizes.get(o, 0) for o in operands)
  return moved


def _bytes(shape: str) -> int:
  return sum(
    _BYTES[kind] * int(np.prod([int(n) for n in dims.split(',') if n]))
    for kind, dims in _ARRAY.findall(shape)
  )


def main() -> None:
  """Compiles and writes compiled-CHIP.md."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('chip', choices=CHIPS)
  parser.add_argument('configs', nargs='*', default=['qm9_density:full'])
  parser.add_argument('--devices', type=int, default=1)
  parser.add_argument('--batch', type=int, default=0, help='0: its own')
  parser.add_argument('--data_dir', default='', help='where datasets lie')
  parser.add_argument('--manual_dir', default='', help='of PDBbind')
  options = parser.parse_args()
  chip = CHIPS[options.chip]
  devices = devices_of(chip, options.devices)
  packages = 'jax', _DRIVERS[chip.platform], 'flax', 'optax'
  versions = ', '.join(f'{p} {metadata.version(p)}' for p in packages)
  table = timing.Table(
    f'compiled-{options.chip}',
    f'Training steps, compiled for {options.chip}',
    [
      'Compiled ahead of time, one step a call, on a machine without such a '
      f'chip; nothing ran. {versions}, {time.strftime("%Y-%m-%d")}.',
    ],
    (
      'configuration', 'devices', 'examples each', 'compiling, s',
      f'GB of {chip.memory / 1e9:.0f}', 'arithmetic floor, ms',
      'floor of bytes, ms', 'bytes of the program, ms',
      'of them in convolutions', 'in reductions',
    ),
  )  # fmt: skip
  for name in options.configs:
    with mock.patch.object(jax, 'default_backend', return_value=chip.backend):
      step = Step(name, options, devices)
      table.row(name, *row_of(step, chip))


def row_of(step: Step, chip: Chip) -> list:
  """Compiles a step; returns its row of the table."""
  begin = time.perf_counter()
  compiled = step.lowered.compile(_OPTIONS[chip.platform])
  seconds = time.perf_counter() - begin
  memory = compiled.memory_analysis()
  planned = (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.temp_size_in_bytes
  )
  text = compiled.as_text()
  if chip.platform == 'tpu':  # its convolutions are inside of fused kernels
    moved, shares = compiled.cost_analysis()['bytes accessed'], ('', '')
  else:
    by_kind = traffic(text)
    moved = sum(by_kind.values())
    shares = [
      f'{by_kind[kind] / moved:.0%}' for kind in ('convolutions', 'reductions')
    ]
  half = step.config.model.dtype == 'bfloat16'
  return [
    step.count,
    step.each,
    seconds,
    planned / 1e9,
    1e3 * common.training_flops(step.layers) / chip.rate,
    1e3 * common.training_bytes(step.layers, 2 if half else 4) / chip.bandwidth,
    1e3 * moved / chip.bandwidth,
    *shares,
  ]


if __name__ == '__main__':
  main()
