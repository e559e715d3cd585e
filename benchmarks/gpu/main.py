"""The parts of benchmarks/gpu/gpu.sh that run edjax; each is a process.

  python -m benchmarks.gpu.main PART --work DIR [--results DIR] [--tiny]

PART is one of `rates`, `data ARCHIVE`, `train CONFIG`, `convs CONFIG`,
`launch CONFIG`, `plan`, `arm INPUT` and `after`; CONFIG is a file of configs/
and its variant, such as qm9_density:full, INPUT one of `science.ARMS`. Parts
leave their results in DIR for those after them: the pack, the measured rates of
the card, the steps of the arms. Tables are appended to gpu.md as rows come.
`--tiny` makes everything small enough for a CPU; its figures mean nothing.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import time

import numpy as np

from benchmarks import timing
from benchmarks.gpu import common, science, train

# Seconds of the process after which no more molecules are taken.
_TAKING = 60.0


def data(options) -> None:
  """Parses the archive, runs xTB on all cores, packs; without TFDS.

  Molecules come in random order, so that the pack of a slow machine holds fewer
  of all sizes.
  """
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
  order = np.random.default_rng(0).permutation(len(every))
  wanted = [every[i] for i in order[: 200 if part.tiny else None]]
  begin = time.perf_counter()
  examples = records.examples(wanted, str(part.work), {'dataset': 'qm9'})
  with contextlib.closing(examples):
    taken = itertools.takewhile(lambda _: part.seconds() < _TAKING, examples)
    kept = sorted(taken, key=lambda example: example[0])
  packed_dataset.write(part.pack, map(packable, kept), fingerprint='benchmark')
  seconds = time.perf_counter() - begin
  table.row(
    f'xTB and packing ({cores} cores)',
    len(kept),
    seconds,
    1e3 * seconds * cores / len(kept),
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


def as_one(x_BXYZC, kernel_NCF):
  """Computes `isotropic_conv` as one convolution with all offsets."""
  import jax

  from edjax.models import isotropic

  block = {4: 1, 10: 2}[len(kernel_NCF)]
  shares_NCF = kernel_NCF / isotropic.orbit_sizes(3 * block)[:, None, None]
  return jax.lax.conv_general_dilated(
    x_BXYZC,
    shares_NCF[isotropic.orbits(3 * block)].astype(x_BXYZC.dtype),
    (block,) * 3,
    [(block, block)] * 3,
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )


def _both_passes(f, x, kernel, grad, options=None) -> tuple:
  """Measures seconds of a layer forward and backward; returns its output too.

  Both are NaN where the compiler finds no way to do it.
  """
  import jax

  def run(x, kernel, grad):
    out, pull_back = jax.vjp(f, x, kernel)
    return out, pull_back(grad)

  compiled = jax.jit(run, compiler_options=options)
  try:
    seconds = common.repeated(compiled, x, kernel, grad)
    return seconds, compiled(x, kernel, grad)[0]
  except jax.errors.JaxRuntimeError as error:
    print(error)
    return float('nan'), float('nan')


def convs(options) -> None:
  """Times every different convolution in three forms, both passes, bf16."""
  import jax
  import jax.numpy as jnp

  from edjax import models
  from edjax.models import isotropic

  part = common.Part(options, f'Convolutions of {options.argument}, bfloat16')
  config = train.configuration(part.argument, part.tiny)
  size, batch = config.representation.grid_size, config.train.batch_size
  model = models.build_model(config.model, len(config.data.targets))
  vox_BXYZC = jax.ShapeDtypeStruct((batch, *[size] * 3, 1), 'float32')
  every = [c for c in common.layers(model, vox_BXYZC) if c.taps > 1]
  table = part.table(
    ('layer', 'times', 'ms', 'floor of bytes, ms', 'TFLOP/s',
     'share of the bf16 rate', 'as one convolution, ms',
     'so, channels last, ms', 'deviation'),
    [
      f'Forward and both gradients, batch {batch}. edjax adds up offsets of '
      'one weight and multiplies then. As one convolution: with all offsets, '
      'by cuDNN, in the layout that XLA chooses and with channels last; in '
      'all: the fastest.'
    ],
  )  # fmt: skip
  bf16, bandwidth = part.rate('bf16'), part.rate('bandwidth')
  total = np.zeros(4)
  for layer in dict.fromkeys(every):
    x, grad = (
      jax.random.normal(jax.random.key(0), shape, jnp.bfloat16)
      for shape in (layer.x, layer.out)
    )
    weights = layer.taps, layer.x[-1], layer.out[-1]
    kernel = jax.random.normal(jax.random.key(1), weights)

    def ours(x, kernel, block=layer.x[1] // layer.out[1]):
      return isotropic.isotropic_conv(x, kernel, block)

    arrays = x, kernel, grad
    own, out = _both_passes(ours, *arrays)
    one, other = _both_passes(as_one, *arrays)
    last, _ = _both_passes(as_one, *arrays, {'xla_gpu_force_conv_nhwc': True})
    apart = jnp.abs(out - other).max() / jnp.abs(out).max()
    flops, times = 3 * common.forward_flops(layer), every.count(layer)
    moved = 6 * (x.size + grad.size) / bandwidth
    total += times * np.array([own, moved, flops, np.nanmin([own, one, last])])
    table.row(
      f'{layer.x[1]}^3, {layer.taps} weights, {layer.x[-1]} to {layer.out[-1]}',
      times, 1e3 * own, 1e3 * moved, flops / own / 1e12,
      f'{flops / own / bf16:.0%}', 1e3 * one, 1e3 * last, float(apart),
    )  # fmt: skip
  own, moved, flops, best = total
  table.row(
    'all of a step', '', 1e3 * own, 1e3 * moved, flops / own / 1e12,
    f'{flops / own / bf16:.0%}', 1e3 * best, '', '',
  )  # fmt: skip


def main():
  parts = {
    'rates': rates, 'data': data, 'train': train.train, 'convs': convs,
    'launch': train.launch, 'plan': science.plan, 'arm': science.arm,
    'after': science.after,
  }  # fmt: skip
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('part', choices=parts)
  parser.add_argument('argument', nargs='?', default='')
  parser.add_argument('--work', type=pathlib.Path, required=True)
  parser.add_argument('--results', type=pathlib.Path, default=timing.RESULTS)
  parser.add_argument('--tiny', action='store_true')
  options = parser.parse_args()
  timing.RESULTS = options.results
  parts[options.part](options)


if __name__ == '__main__':
  main()
