"""What a billion molecules would take, from what some thousands take.

  python -m benchmarks.speed.billion --data_dir DIR [--manual_dir DIR_OF_QM9]

Bytes and seconds are those of the QM9 dataset in DIR (built where it is not
there). Operations are XLA's own count for one molecule of
`configs/qm9_density.py:full`, lowered for a TPU; nothing is run on one. The
peak of a chip and the share of it that is reached are assumptions, said beside
the numbers.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from configs import qm9_density
from edjax import config as configuration
from edjax import models
from edjax.data import loading, padded
from edjax.task import make

MOLECULES = 10**9
# bfloat16 of a TPU v5e (https://cloud.google.com/tpu/docs/v5e), a share that
# convolutions may reach, and the chips of a slice.
PEAK, SHARE, CHIPS = 197e12, 0.4, 256


def operations(f, *shapes) -> float:
  """Floating point operations of a call, by XLA's count for a TPU."""
  lowered = jax.jit(f).trace(*shapes).lower(lowering_platforms=('tpu',))
  return lowered.cost_analysis()['flops']


def of_network(config) -> tuple[float, int]:
  """(operations of the gradient of one molecule's loss, parameters)."""
  model = models.build_model(config.model, len(config.data.targets))
  size = config.representation.grid_size
  voxels = jax.ShapeDtypeStruct((1, size, size, size, 1), jnp.float32)

  def init(key):
    return model.init(key, jnp.zeros(voxels.shape), train=False)['params']

  params = jax.eval_shape(init, jax.random.key(0))

  def loss(params, vox_BXYZC):
    out = model.apply({'params': params}, vox_BXYZC, train=False)
    return jnp.sum(out**2)

  count = sum(x.size for x in jax.tree.leaves(params))
  return operations(jax.grad(loss), params, voxels), count


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--manual_dir', default='')
  options = parser.parse_args()
  config = qm9_density.get_config('full')
  config.data.data_dir = options.data_dir
  config.data.manual_dir = options.manual_dir
  config = configuration.resolve(config)
  pack = loading.load_pack(config.data)
  n = len(pack)
  folder = pathlib.Path(options.data_dir).expanduser()
  report = json.loads(next(folder.glob('edjax_qm9/*/report.json')).read_text())

  def bytes_of(pattern):
    files = (p for p in folder.glob(pattern) if p.is_file())
    return sum(p.stat().st_size for p in files) / n

  selection = make.selection_of(config)
  rows = np.arange(min(n, 2000))
  padding = padded.padding_of(pack, np.arange(n), selection)
  batch = padded.make_molecules(pack, rows, padding, selection)
  padded_bytes = sum(x.nbytes for x in jax.tree.leaves(batch)) / len(rows)
  network, parameters = of_network(config)
  chip = PEAK * SHARE
  epoch = MOLECULES * network / chip / 3600
  table = timing.Table(
    'billion',
    'A billion molecules, on paper',
    [
      timing.machine(packages=('jax', 'tblite')),
      f'Measured on {n} molecules of QM9. The network has '
      f'{parameters / 1e6:.1f} million parameters. Chips: '
      f'{PEAK / 1e12:.0f} TFLOP/s in bfloat16 (TPU v5e), of which '
      f'{SHARE:.0%} are assumed to be reached; nothing here was run on one.',
    ],
    ('what', 'of one molecule', 'of a billion'),
  )
  tera, hours = MOLECULES / 1e12, MOLECULES / 3600
  for what, pattern in (
    ('dataset (array_record)', 'edjax_qm9/**/*'),
    ('pack (memory-mapped)', 'packs/qm9-*/*'),
  ):
    size = bytes_of(pattern)
    table.row(what, f'{size / 1e3:.1f} kB', f'{size * tera:.1f} TB')
  table.row(
    'padded molecules in memory', f'{padded_bytes / 1e3:.1f} kB',
    f'{padded_bytes * tera:.1f} TB',
  )  # fmt: skip
  seconds = report['xtb_seconds_per_molecule']
  table.row(
    'GFN2-xTB, one core', f'{1e3 * seconds:.1f} ms',
    f'{seconds * hours:,.0f} core-hours',
  )  # fmt: skip
  table.row(
    'network, forward and backward', f'{network / 1e9:.1f} GFLOP',
    f'{epoch:,.0f} chip-hours an epoch; {epoch / CHIPS:.1f} h on {CHIPS} chips',
  )  # fmt: skip


if __name__ == '__main__':
  main()
