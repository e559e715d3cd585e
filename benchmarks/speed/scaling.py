"""Measures time and memory against atoms, voxels, batch, devices, on CPU.

  python -m benchmarks.speed.scaling [--gib 24]

Every series runs in a process of its own, so that one that runs out of memory
ends alone. Memory is what the compiler plans (arguments, results and scratch
of one program, on one device); exponents are fitted to the upper half of a
series. The largest case that fits is extrapolated from them, and the largest
that this machine has memory and half a minute for is run: its resident memory
stands beside the plan.
"""

import argparse
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import timing

_ATOMS = (10, 30, 100, 300, 1000, 5000)
_EDGES = (16, 24, 32, 48, 64, 96, 128)
# Series: function of this module, fixed arguments, the one that grows, its
# values.
SERIES = {
  'atom types, 48^3': ('field', {'channel': 'atoms'}, 'atoms', _ATOMS),
  'promolecule, 48^3': ('field', {'channel': 'density'}, 'atoms', _ATOMS),
  'its gradient, 48^3': ('field', {'channel': 'gradient'}, 'atoms', _ATOMS),
  'xTB density, 48^3': (
    'field', {'channel': 'density', 'density': 'xtb'}, 'atoms',
    (10, 20, 40, 80),
  ),
  'atom types, 18 atoms': (
    'field', {'channel': 'atoms', 'atoms': 18}, 'edge', _EDGES,
  ),
  'promolecule, 18 atoms': (
    'field', {'channel': 'density', 'atoms': 18}, 'edge', _EDGES,
  ),
  'xTB density, 18 atoms': (
    'field', {'channel': 'density', 'density': 'xtb', 'atoms': 18}, 'edge',
    _EDGES,
  ),
  'training step, batch 4': ('step', {'batch': 4}, 'edge', (16, 32, 48, 64)),
  'training step, 24^3': ('step', {}, 'batch', (1, 4, 16, 64, 256)),
  'training step, 24^3, batch 32': (
    'step', {'batch': 32}, 'devices', (1, 2, 4),
  ),
}  # fmt: skip
# Seconds: a longer case ends its series; a trial may take this long.
_LONGEST = 20.0
_TRIAL = 30.0
# Share of the free memory that a trial may plan to take; and how far beyond
# the last measured value it may go.
_FREE = 0.7
_BEYOND = 20


def field(
  channel: str, density: str = 'promolecule', atoms: int = 18, edge: int = 48
):
  """Sets up voxels of a made-up molecule as dense as a protein, box of 24 Å.

  Returns:
    (function, arguments).
  """
  import jax

  from edjax import voxelize
  from edjax.grid import Grid
  from edjax.molecule import Molecule

  rng = np.random.default_rng(0)
  # 0.05 atoms per Å^3: heavy atoms of proteins.
  radius = (3 * atoms / (4 * math.pi * 0.05)) ** (1 / 3)
  way = rng.normal(size=(atoms, 3))
  way *= radius / np.linalg.norm(way, axis=1, keepdims=True)
  orbitals = None
  if density == 'xtb':
    orbitals = rng.normal(size=(math.ceil(1.4 * atoms), atoms, 4))
    orbitals /= np.sqrt(atoms)
  mol = Molecule.from_arrays(
    rng.choice([6, 7, 8], atoms),
    way * rng.random((atoms, 1)) ** (1 / 3),
    orbitals=orbitals,
  )
  voxelizer = voxelize.make_voxelizer(
    (channel,), Grid(edge, 24 / edge), density=density
  )
  return jax.jit(voxelizer), (mol,)


def step(batch: int = 16, edge: int = 24, devices: int = 1):
  """Sets up a training step of the default network on ready voxels.

  Returns:
    (function, arguments).
  """
  import jax

  from benchmarks import steps
  from configs import qm9_density
  from edjax import config as configuration
  from edjax import models, optim
  from edjax.config.representation import make_voxelizer
  from edjax.runtime import parallel
  from edjax.train import train_step

  config = qm9_density.get_config()
  config.augment.rotate = False
  config.eval.rotations = 1
  config.train.batch_size = batch
  config.representation.grid_size = edge
  config.eval.batch_size = devices
  config = configuration.resolve(config)
  rng = np.random.default_rng(0)
  channels = make_voxelizer(config.representation).num_channels
  vox_BXYZC = rng.random((batch, edge, edge, edge, channels), np.float32)
  labels_BT = rng.random((batch, len(config.data.targets)), np.float32)
  model = models.build_model(config.model, labels_BT.shape[1])
  optimizer = optim.make_optimizer(config.optim, config.train.steps)
  state = train_step.init_state(model, optimizer, 0, vox_BXYZC[:1])
  call = steps.on_voxels(config, model, optimizer)
  voxels = steps.Voxels(np.arange(batch, dtype=np.uint32), vox_BXYZC)
  indices = np.arange(batch, dtype=np.int32).reshape(devices, 1, -1)
  assert jax.local_device_count() == devices
  return call, (
    parallel.replicate(jax.device_get(state)),
    parallel.replicate((voxels, labels_BT)),
    indices,
  )


def measure(name: str, arguments: dict, axis: str, values) -> None:
  """Prints a line of JSON for each value; runs in a process of its own."""
  import jax

  for value in values:
    f, args = globals()[name](**arguments, **{axis: value})
    begin = time.perf_counter()
    compiled = f.lower(*args).compile()
    compiling = time.perf_counter() - begin
    plan = compiled.memory_analysis()
    jax.block_until_ready(compiled(*args))
    times, begin = [], time.perf_counter()
    while len(times) < 3 or (
      len(times) < 20 and time.perf_counter() - begin < 2
    ):
      mark = time.perf_counter()
      jax.block_until_ready(compiled(*args))
      times.append(time.perf_counter() - mark)
      if times[-1] > _LONGEST:
        break
    print(
      json.dumps(
        {
          'value': value,
          'seconds': min(times),
          'bytes': plan.argument_size_in_bytes
          + plan.output_size_in_bytes
          + plan.temp_size_in_bytes
          - plan.alias_size_in_bytes,
          'compiling': compiling,
          # ru_maxrss is in KiB on Linux.
          'resident': 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        }
      ),
      flush=True,
    )
    if times[-1] > _LONGEST:
      return


def measured(name: str, arguments: dict, axis: str, values, limit: float):
  """Yields the lines of `measure`; ends early if the process does.

  Args:
    name: of the function.
    arguments: those that stay.
    axis: the one that grows.
    values: of it.
    limit: seconds for all of them.
  """
  devices = values[0] if axis == 'devices' else 1
  question = json.dumps([name, arguments, axis, values])
  flags = f'--xla_force_host_platform_device_count={devices}'
  child = subprocess.Popen(
    (
      'timeout',
      str(limit),
      sys.executable,
      '-m',
      'benchmarks.speed.scaling',
      '--measure',
      question,
    ),
    env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags},
    stdout=subprocess.PIPE,
    text=True,
  )
  for line in child.stdout:
    yield json.loads(line)
  child.wait()


def exponent(rows, key: str) -> float:
  """Returns the exponent of a power law through the upper half of a series."""
  upper = rows[len(rows) // 2 :] if len(rows) > 3 else rows[-2:]
  return _power(upper, [row[key] for row in upper])


def _power(rows, amounts) -> float:
  if len(rows) < 2:
    return math.nan
  x, y = np.log([row['value'] for row in rows]), np.log(amounts)
  return float(np.polyfit(x, y, 1)[0])


def largest(rows, key: str, limit: float) -> float:
  """Extrapolates up to which value an amount stays below a limit.

  The amount of the smallest case is constant; the power law goes through what
  the two largest take beyond it.
  """
  base, upper = rows[0][key], rows[-2:]
  beyond = [row[key] - base for row in upper]
  if len(rows) < 3 or min(beyond) <= 0:
    return math.inf
  power = _power(upper, beyond)
  if power < 0.1:
    return math.inf
  return upper[-1]['value'] * ((limit - base) / beyond[-1]) ** (1 / power)


def free_bytes() -> int:
  """Returns the bytes that programs can have now (Linux)."""
  for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
    if line.startswith('MemAvailable'):
      return 1024 * int(line.split()[1])
  raise RuntimeError('/proc/meminfo has no MemAvailable')


def whole(value: float, axis: str) -> int:
  """Rounds to a value that the function takes: grids are multiples of 8."""
  return int(value) // 8 * 8 if axis == 'edge' else int(value)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--gib', type=float, default=24.0)
  parser.add_argument('--measure', type=json.loads, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.measure:
    measure(*options.measure)
    return
  limit = options.gib * 2**30
  table = timing.Table(
    'scaling',
    'How time and memory grow',
    [
      timing.machine(),
      'Least time of up to 20 runs. Fields are of one molecule; the network '
      'is the default one.',
    ],
    ('series', 'grows', 'value', 'ms', 'planned MiB', 'compilation, s'),
  )
  results = {}
  for title, (name, arguments, axis, values) in SERIES.items():
    rows = results[title] = []
    groups = [[v] for v in values] if axis == 'devices' else [list(values)]
    for group in groups:
      for row in measured(name, arguments, axis, group, 180):
        rows.append(row)
        table.row(
          title, axis, row['value'], 1e3 * row['seconds'],
          row['bytes'] / 2**20, row['compiling'],
        )  # fmt: skip
    if len(rows) < len(values):
      table.text(f'| {title} | {axis} | (no further) | | | |')
  table.text('', f'Powers, and the largest case that fits {options.gib:g} GiB.')
  table.head(
    ('series', 'grows', 'time grows as', 'memory as', 'largest that fits',
     'run', 'planned GiB', 'resident GiB', 's')
  )  # fmt: skip
  for title, (name, arguments, axis, _) in SERIES.items():
    rows = results[title]
    if len(rows) < 2:
      continue
    powers = [f'{axis}^{exponent(rows, k):.2f}' for k in ('seconds', 'bytes')]
    if axis == 'devices':
      table.row(title, axis, *powers, '', '', '', '', '')
      continue
    fits = largest(rows, 'bytes', limit)
    able = min(
      largest(rows, 'bytes', min(limit, _FREE * free_bytes())),
      # A trial runs a few times after it has been compiled.
      largest(rows, 'seconds', _TRIAL / 5),
      _BEYOND * rows[-1]['value'],
    )
    value = whole(able, axis)
    tried = (f'{value}: not done', '', '', '')
    for row in measured(name, arguments, axis, [value], 2 * _TRIAL):
      tried = (
        value, row['bytes'] / 2**30, row['resident'] / 2**30, row['seconds'],
      )  # fmt: skip
    limit_text = whole(fits, axis) if math.isfinite(fits) else 'no limit seen'
    table.row(title, axis, *powers, limit_text, *tried)


if __name__ == '__main__':
  main()
