"""Measures what moments and convolutions contribute to the predictions.

  python -m benchmarks.accuracy.what_carries --runs DIR --data_dir DIR \
    --set qm9_mini
  python -m benchmarks.accuracy.what_carries --runs DIR --data_dir DIR \
    --set qm9 --manual_dir DIR_OF_QM9
  python -m benchmarks.accuracy.what_carries --runs DIR --data_dir DIR \
    --set pdbbind --manual_dir DIR_OF_PDBBIND

For each of the paper's inputs three networks with one budget of steps: the head
on the input's moments (model.name='moments'), the convolutions without them,
and both; on request (--networks) the convolutions without powers of the input,
with AdamW in place of Muon, or with free kernels in place of isotropic ones;
and ATOM3D's cnn3d. One table has their test errors and what the trunk carries,
the other their differences to the moments and to the convolutions alone, paired
by example. They are printed from the finished runs, which are not run again, so
that the benchmark can be stopped and continued. Nothing is selected on test
data.
"""

import argparse
import csv
import pathlib

from benchmarks.accuracy import runs
from edjax import datasets
from edjax.evaluate import metrics, vitals
from edjax.runtime.run_directory import RunDirectory

NETWORKS = {
  'moments': {'model.name': 'moments'},
  'convolutions': {'model.input_moments': False},
  'both': {'model.input_moments': True},
  # Parts of the convolutions and of their training left out or replaced.
  'no_powers': {'model.input_moments': False, 'model.input_powers': False},
  'adamw': {'model.input_moments': False, 'optim.name': 'adamw'},
  'free': {'model.input_moments': False, 'model.kernels': 'free'},
  # ATOM3D's network with its grid, optimiser and rate for QM9: drorlab/atom3d,
  # examples/smp/cnn3d. (Batches are ours, of 16; there of 256.)
  'cnn3d': {
    'model.name': 'cnn3d',
    'optim.name': 'adamw',
    'optim.weight_decay': 0.0,
    'optim.learning_rate': 5e-4,
    'representation.grid_size': 20,
    'representation.spacing': 1.0,
  },
}
INPUTS = ('atoms', 'density', 'gradient', 'shape')
# Configuration and budget of each dataset.
SETS = {
  # Plain inputs and no residual, as on QM9.
  'qm9_mini': (
    'configs/qm9_{}.py',
    {
      'data.delta': '',
      'representation.transforms.density': 'none',
      'representation.transforms.gradient': 'arcsinh',
      'representation.transforms.shape': 'none',
      'train.steps': 1800,
      'train.eval_every': 450,
      'train.checkpoint_every': 450,
    },
  ),
  'qm9': ('configs/qm9_{}.py:qm9_cpu', {}),
  'pdbbind': ('configs/pdbbind_{}.py', {}),
}


def jobs(args) -> dict[tuple[str, str, int], tuple]:
  """Maps (input, network, seed) to arguments of `runs.launch`."""
  config, budget = SETS[args.set]
  data = {'data.data_dir': args.data_dir}
  if args.manual_dir:
    data['data.manual_dir'] = args.manual_dir
  if args.steps:
    budget = budget | {
      'train.steps': args.steps,
      'train.eval_every': args.steps // 4,
      'train.checkpoint_every': args.steps // 4,
    }
  return {
    (channel, network, seed): (
      args.runs / args.set / f'{channel}-{network}-seed{seed}',
      config.format(channel),
      data | budget | NETWORKS[network] | {'train.seed': seed},
    )
    for seed in range(args.seeds)
    for channel in args.inputs
    for network in args.networks
  }


def tables(finished: dict[tuple[str, str, int], pathlib.Path]) -> str:
  """Returns Markdown of the finished runs and the differences between them."""
  results = {key: runs.results(path) for key, path in finished.items()}
  first = next(iter(results.values()))
  names = list(first['targets'])
  units = {name: first['targets'][name]['unit'] for name in names}
  of_targets = [f'{name} ({unit})' for name, unit in units.items()]
  head = ['input', 'network', 'seed', 'parameters', 's/step', *of_targets]
  rows = [[*head, 'trunk carries', 'dead channels']]
  for key, result in results.items():
    cost = result['cost']['train_seconds_per_step']
    shares = result['trunk_share'].values()
    rows.append(
      [*map(str, key), f'{result["parameters"]:,}', f'{cost:.3f}']
      + [f'{result["targets"][n]["mae"]["value"]:.4g}' for n in names]
      + [', '.join(f'{share:.2f}' for share in shares)]
      + ['{} of {}'.format(*vitals.in_all(result['dead_channels']))]
    )
  pairs = [['input', 'network', 'minus', 'seed', *of_targets]]
  for channel, network, seed in results:
    for other in ('moments', 'convolutions'):
      key, reference = (channel, network, seed), (channel, other, seed)
      if network in ('moments', other) or reference not in finished:
        continue
      pairs.append(
        [channel, network, other, str(seed)]
        + [
          difference(finished[key], finished[reference], n, first['dataset'])
          for n in names
        ]
      )
  return f'{_markdown(rows)}\n\n{_markdown(pairs)}'


def _markdown(rows: list[list[str]]) -> str:
  lines = ['| ' + ' | '.join(row) + ' |' for row in rows]
  lines[1:1] = ['|---' * len(rows[0]) + '|']
  return '\n'.join(lines)


def difference(path, reference, name: str, dataset: str) -> str:
  """Returns the MAE of a run minus that of another, paired by example."""
  truth, ours = RunDirectory(path).read_predictions('test')[name].T
  other = RunDirectory(reference).read_predictions('test')[name][:, 1]
  factor = datasets.DATASETS[dataset].targets[name].factor
  entry = metrics.paired_difference(
    truth * factor, ours * factor, other * factor, clusters_N=clusters(path)
  )
  return runs.interval(entry)


def clusters(path: pathlib.Path) -> list[str] | None:
  """Returns the clusters of a run's test examples; None without clusters."""
  with (path / 'predictions_test.csv').open(encoding='utf-8') as file:
    rows = list(csv.DictReader(file))
  if 'cluster' not in rows[0]:
    return None
  return [row['cluster'] for row in rows if row['name'] == rows[0]['name']]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--manual_dir', default='')
  parser.add_argument('--set', choices=SETS, required=True)
  parser.add_argument('--steps', type=int, default=0, help='0: as configured')
  parser.add_argument('--seeds', type=int, default=1)
  parser.add_argument('--inputs', nargs='*', choices=INPUTS, default=INPUTS)
  parser.add_argument(
    '--networks', nargs='*', choices=NETWORKS, default=tuple(NETWORKS)[:3]
  )
  parser.add_argument(
    '--report', action='store_true', help='print what is there, run nothing'
  )
  args = parser.parse_args()
  args.runs = args.runs.resolve()
  wanted = jobs(args)
  if not args.report:
    runs.launch_all(list(wanted.values()))
  finished = {
    key: job[0]
    for key, job in wanted.items()
    if (job[0] / 'results.json').exists()
  }
  print(tables(finished))
  print(
    f'\nOne run a core. Machine: {runs.machine(next(iter(finished.values())))}'
  )


if __name__ == '__main__':
  main()
