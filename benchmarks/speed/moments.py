"""What a linear fit on global moments of the input says of the targets.

  python -m benchmarks.speed.moments --data_dir DIR [--channel density]

Ridge regression on moments of powers of a channel
(edjax/models/input_moments.py), without any convolution: how far the embedded
molecules can be learned from global integrals, at several resolutions. Three
random poses of each training molecule, one of every other; strengths are chosen
on validation.
"""

import argparse

import jax
import numpy as np

from configs import qm9_density
from edjax import config as configuration
from edjax import datasets, geometry, task
from edjax.baselines import ridge_regression
from edjax.kernels.numerics import batched
from edjax.models import input_moments

GRIDS = ((24, 0.5), (24, 0.4), (32, 0.3))
ALPHAS = 10.0 ** np.arange(-10, 1)


def features(work, part: str, poses: int) -> np.ndarray:
  """Moments of a part's molecules, each in some random poses."""
  molecules = work.molecules[part]
  moments = jax.jit(input_moments.power_moments)
  field = jax.jit(batched(work.voxelizer))
  rows = []
  for pose in range(poses):
    seed = {'train': 0, 'validation': 100, 'test': 200}[part] + pose
    keys = jax.random.split(jax.random.key(seed), len(work.rows[part]))
    turned = jax.vmap(geometry.rotate)(
      molecules, jax.vmap(geometry.random_rotation)(keys)
    )
    rows.append(np.asarray(moments(field(turned))))
  return np.concatenate(rows)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--channel', default='density')
  args = parser.parse_args()
  config = qm9_density.get_config()
  config.data.data_dir = args.data_dir
  config.representation.channels = (args.channel,)
  # The moments take powers themselves.
  config.representation.transforms[args.channel] = 'none'
  names = config.data.targets
  units = [datasets.DATASETS['qm9_mini'].targets[name] for name in names]
  head = [f'{n} ({u.report})' for n, u in zip(names, units, strict=True)]
  print(f'| voxels | {" | ".join(head)} |\n' + '|---' * (len(names) + 1) + '|')
  for size, spacing in GRIDS:
    config.representation.grid_size = size
    config.representation.spacing = spacing
    work = task.make_task(configuration.resolve(config))
    label = {p: work.labels.columns_NT[rows] for p, rows in work.rows.items()}
    fit = ridge_regression.ridge_fit(
      features(work, 'train', 3),
      np.tile(label['train'], (3, 1)),
      ALPHAS,
      x_val=features(work, 'validation', 1),
      y_val=label['validation'],
    )
    error_BT = np.abs(fit.predict(features(work, 'test', 1)) - label['test'])
    mae = [e * u.factor for e, u in zip(error_BT.mean(0), units, strict=True)]
    cells = ' | '.join(f'{e:#.4g}' for e in mae)
    print(f'| {size}^3 x {spacing} Å | {cells} |', flush=True)


if __name__ == '__main__':
  main()
