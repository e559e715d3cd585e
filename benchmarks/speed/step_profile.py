"""Says what a training step on one core spends its time on.

  python -m benchmarks.speed.step_profile [--steps N]

The steps of benchmarks/speed/network.py without dropout, profiled. Products are
the operations of the compiled program that multiply matrices or convolve, alone
or fused with others; the rest are passes over memory. Last column: the least
that bfloat16 could leave of a step, were products as much faster as one large
product is, and rounding their operands free.
"""

import argparse
import os
import re
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import timing
from benchmarks.speed import network
from edjax.runtime import malloc

_EDGE = 2048
_PRODUCTS = re.compile(r'\b(dot|convolution)\(')


def product_names(program: str) -> set[str]:
  """Returns the operations of a program that multiply matrices.

  Args:
    program: text of the compiled one.

  Returns:
    Names of dots, convolutions and fusions that contain one, without '%'.
  """
  fusions, names, computation = set(), set(), ''
  for line in program.splitlines():
    if line.endswith('{'):
      computation = line.removeprefix('ENTRY').split()[0].lstrip('%')
    if _PRODUCTS.search(line):
      fusions.add(computation)
      names.add(line.split(' = ')[0].split()[-1].lstrip('%'))
  for line in program.splitlines():
    calls = re.search(r' fusion\(.*calls=%?([\w.-]+)', line)
    if calls and calls[1] in fusions:
      names.add(line.split(' = ')[0].split()[-1].lstrip('%'))
  return names


def operations(run, steps: int) -> dict[str, float]:
  """Returns the seconds of each operation in one call, from a profile."""
  with tempfile.TemporaryDirectory() as directory:
    with jax.profiler.trace(directory):
      for _ in range(steps):
        run()
    (path,) = Path(directory).rglob('*.xplane.pb')
    profile = jax.profiler.ProfileData.from_file(str(path))
    seconds = {}
    for plane in profile.planes:
      for line in plane.lines:
        for event in line.events:
          before = seconds.get(event.name, 0)
          seconds[event.name] = before + event.duration_ns * 1e-9 / steps
  return seconds


def gain(repeats: int = 15) -> float:
  """Returns how much faster a product of bfloat16 is, sums in float32."""

  def product(a, b):
    return lax.dot(a, b, preferred_element_type=jnp.float32)

  square = jnp.ones((_EDGE, _EDGE))
  half = square.astype(jnp.bfloat16)
  seconds = timing.in_turn(
    {
      'float32': timing.jitted(product, square, square),
      'bfloat16': timing.jitted(product, half, half),
    },
    repeats,
  )
  return seconds['float32'] / seconds['bfloat16']


def main():
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before jax starts
  malloc.keep()  # as launch.py does
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--steps', type=int, default=20)
  options = parser.parse_args()
  ratio = gain()
  table = timing.Table(
    'step_profile',
    'What a training step on one core spends its time on',
    [
      timing.machine(),
      'Batch 16, 24^3 voxels, 5 channels, float32, without dropout. Products: '
      'of matrices, and convolutions, with what XLA fuses into them. A product '
      f'of bfloat16 with sums in float32 is {ratio:.2g} times as fast here '
      f'({_EDGE}^3). Last: what of the step would be left if all products '
      'were, and rounding their operands took no time.',
    ],
    ('network', 'step ms', 'products ms', 'share', 'left with bfloat16'),
  )
  rng = np.random.default_rng(0)
  shape = (network.BATCH, *(network.SIZE,) * 3, network.CHANNELS)
  vox = np.abs(rng.normal(size=shape)).astype(np.float32)
  labels = rng.normal(size=(network.BATCH, network.TARGETS))
  for name, label in network.WHAT.items():
    model = network.build(name)
    params = network.initial(model, vox)
    run = network.stepper(model, params, jnp.asarray(vox), labels, train=False)
    step = timing.in_turn({'step': timing.elapsed(run)})['step']
    products = product_names(run.program())
    seconds = sum(
      s for o, s in operations(run, options.steps).items() if o in products
    )
    left = 1 - seconds / step * (1 - 1 / ratio)
    table.row(label, 1e3 * step, 1e3 * seconds, seconds / step, left)


if __name__ == '__main__':
  main()
