"""The parts of benchmarks/gpu/gpu.sh that run edjax; each is a process.

  python -m benchmarks.gpu.main PART --work DIR [--results DIR] [--tiny]

PART is one of `data ARCHIVE`, `rates`, `convs CONFIG`, `train CONFIG`,
`throughput CONFIG`, `launch CONFIG` and `real CONFIG`; CONFIG is a file of
configs/ and its variant, such as qm9_density:full. Parts leave their results in
DIR for those after them: the pack, the measured rates of the card, times of
steps. Tables are appended to gpu.md as rows come. `--tiny` makes everything
small enough for a CPU; its figures mean nothing.
"""

import argparse
import os
import pathlib
import time

import numpy as np

from benchmarks import timing
from benchmarks.gpu import common, train

# Molecules that xTB does for each core: about half a minute.
_PER_CORE = 3000


def data(options) -> None:
  """Parses the archive, runs xTB on all cores, packs; without TFDS."""
  from data_builders.molecules import records
  from data_builders.qm9 import archive
  from edjax.data import packed_dataset

  part = common.Part(options, 'From the raw archive to a pack')
  table = part.table(
    ('stage', 'molecules', 'seconds', 'ms a molecule and core')
  )
  cores = len(os.sched_getaffinity(0))
  begin = time.perf_counter()
  every = archive.read(pathlib.Path(options.argument))
  seconds = time.perf_counter() - begin
  table.row(
    'parsing (one core)', len(every), seconds, 1e3 * seconds / len(every)
  )
  wanted = min(len(every), 200 if part.tiny else _PER_CORE * cores)
  # Evenly: the archive goes from small to large molecules.
  chosen = [every[i] for i in np.arange(wanted) * len(every) // wanted]
  begin = time.perf_counter()
  examples = records.examples(chosen, str(part.work), {'dataset': 'qm9'})
  packed_dataset.write(
    part.pack, map(packable, examples), fingerprint='benchmark'
  )
  seconds = time.perf_counter() - begin
  table.row(
    f'xTB and packing ({cores} cores)',
    wanted,
    seconds,
    1e3 * seconds * cores / wanted,
  )


def packable(example: tuple[int, dict]) -> dict:
  """Returns a record for a pack, as TFDS would read it."""
  return {
    name: np.float64(value) if isinstance(value, float) else value
    for name, value in example[1].items()
  }


def rates(options) -> None:
  """Measures the card's rates of matrix products and of copying."""
  import jax
  import jax.numpy as jnp

  part = common.Part(options, 'Measured rates of the device')
  device = jax.local_devices()[0]
  note = (
    f'{device.device_kind}; {timing.machine(packages=("jax", "flax", "optax"))}'
  )
  table = part.table(('what', 'figure', 'unit'), [note])
  n = 256 if part.tiny else 8192
  measured = {}
  for name, dtype, precision in (
    ('bf16', jnp.bfloat16, None),
    ('f32', jnp.float32, jax.lax.Precision.HIGHEST),
    ('f32, default precision', jnp.float32, None),
  ):
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (n, n), dtype) for key in keys)
    seconds = common.repeated(
      jax.jit(lambda a, b, p=precision: jnp.matmul(a, b, precision=p)), a, b
    )
    measured[name] = 2 * n**3 / seconds
    table.row(f'{n}^3 matrix product, {name}', measured[name] / 1e12, 'TFLOP/s')
  x = jnp.ones(2**20 if part.tiny else 2**30, jnp.float32)
  seconds = common.repeated(jax.jit(lambda x: x + 1), x)
  measured['bandwidth'] = 2 * x.nbytes / seconds
  table.row('reading and writing', measured['bandwidth'] / 1e9, 'GB/s')
  part.keep('rates', measured)


def in_planes(x_BXYZC, kernel_XYZCF):
  """Computes a 3x3x3 convolution in planes, neighbours along x as channels."""
  import jax
  import jax.numpy as jnp

  batch, nx, ny, nz, _ = x_BXYZC.shape
  padded = jnp.pad(x_BXYZC, [(0, 0), (1, 1), *[(0, 0)] * 3])
  shifts = jnp.concatenate([padded[:, i : i + nx] for i in range(3)], -1)
  kernel = kernel_XYZCF.transpose(1, 2, 0, 3, 4).reshape(
    3, 3, -1, kernel_XYZCF.shape[-1]
  )
  out = jax.lax.conv_general_dilated(
    shifts.reshape(batch * nx, ny, nz, -1), kernel, (1, 1), 'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )  # fmt: skip
  return out.reshape(batch, nx, ny, nz, -1)


def convs(options) -> None:
  """Times every different convolution of `full`, both passes, bf16."""
  import jax
  import jax.numpy as jnp

  from edjax import models
  from edjax.models import conv

  part = common.Part(options, 'Convolutions of the full model, bfloat16')
  config = train.configuration(part.argument, part.tiny)
  size, batch = config.representation.grid_size, config.train.batch_size
  model = models.build_model(config.model, len(config.data.targets))
  every = common.layers(
    model, jax.ShapeDtypeStruct((batch, *[size] * 3, 1), 'float32')
  )
  table = part.table(
    ('layer', 'times', 'ms', 'arithmetic floor, ms', 'floor of bytes, ms',
     'TFLOP/s', 'share of the bf16 rate', 'in planes, ms', 'deviation'),
    [
      f'Forward and both gradients (the first layer: one), batch {batch}. In '
      'planes: one 2-D convolution with neighbours along x as channels; in '
      'all: the faster of the two.'
    ],
  )  # fmt: skip
  bf16, bandwidth = part.rate('bf16'), part.rate('bandwidth')
  total_seconds, total_best = 0.0, 0.0
  for layer in dict.fromkeys(every):
    x_shape, edge, out_shape = layer
    times = every.count(layer)
    first = layer == every[0] and times == 1
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = x_shape, (edge,) * 3 + (x_shape[-1], out_shape[-1]), out_shape
    x, kernel, grad = (
      jax.random.normal(key, shape, jnp.bfloat16)
      for key, shape in zip(keys, shapes, strict=True)
    )

    seconds = common.repeated(
      jax.jit(common.both(conv.conv3d, first)), x, kernel, grad
    )
    planes, deviation = float('nan'), ''
    if edge > 1:
      forward = [jax.jit(f)(x, kernel) for f in (conv.conv3d, in_planes)]
      apart = jnp.abs(forward[0] - forward[1]).max()
      deviation = float(apart / jnp.abs(forward[0]).max())
      planes = common.repeated(
        jax.jit(common.both(in_planes, first)), x, kernel, grad
      )
    flops = common.forward_flops(layer) * (2 if first else 3)
    moved = (
      common.training_bytes([layer])
      if first
      else 6.0 * float(np.prod(x_shape) + np.prod(out_shape))
    )
    total_seconds += times * seconds
    total_best += times * np.nanmin([seconds, planes])
    table.row(
      f'{x_shape[1]}^3, {edge}^3 kernel, {x_shape[-1]} to {out_shape[-1]}',
      times, 1e3 * seconds, 1e3 * flops / bf16, 1e3 * moved / bandwidth,
      flops / seconds / 1e12, f'{flops / seconds / bf16:.0%}', 1e3 * planes,
      deviation,
    )  # fmt: skip
  flops, moved = common.training_flops(every), common.training_bytes(every)
  table.row(
    'all of a step', '', 1e3 * total_seconds, 1e3 * flops / bf16,
    1e3 * moved / bandwidth, flops / total_seconds / 1e12,
    f'{flops / total_seconds / bf16:.0%}', 1e3 * total_best, '',
  )  # fmt: skip


def main():
  parts = {
    'data': data,
    'rates': rates,
    'convs': convs,
    'train': train.train,
    'throughput': train.throughput,
    'launch': train.launch,
    'real': train.real,
  }
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('part', choices=parts)
  parser.add_argument('argument', nargs='?', default='')
  parser.add_argument('--work', type=pathlib.Path, required=True)
  parser.add_argument('--results', type=pathlib.Path, default=timing.RESULTS)
  parser.add_argument('--tiny', action='store_true')
  parser.add_argument(
    '--label', default='', help='of another variant of the measurement'
  )
  options = parser.parse_args()
  timing.RESULTS = options.results
  parts[options.part](options)


if __name__ == '__main__':
  main()
