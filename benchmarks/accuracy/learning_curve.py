"""Test errors against the number of training molecules: a table, a picture.

  python -m benchmarks.accuracy.learning_curve --runs DIR --data_dir DIR \
    --config configs/qm9_density.py --sizes 100 200 400 800 \
    [--fields train.steps=1000 data.manual_dir=DIR ...] [--seeds N]

Subsets are nested, the test molecules are the same throughout, and every run
takes the same number of steps. The baseline, ridge regression on the
composition (of complexes: on descriptors of the ligand), sees the same training
molecules as the network. Runs that are finished are not run again. Writes
curve.md and curve.png into the folder of the runs.
"""

import argparse
import pathlib

import numpy as np

from benchmarks.accuracy import runs
from edjax import baselines


def slope(sizes, errors) -> str:
  """Exponent a of the least squares fit error = c N^a, in logarithms."""
  if len(set(sizes)) < 2:
    return '-'
  return f'{np.polyfit(np.log(sizes), np.log(errors), 1)[0]:.2f}'


def table(results: list[dict]) -> str:
  """Markdown: one block of rows a target, one row a run."""
  ridge_name = results[0]['reference']
  words = baselines.WORDS[ridge_name]
  lines = []
  for name, first in results[0]['targets'].items():
    lines += [
      f'| {name} ({first["unit"]}) | MAE | {words} | difference |',
      '|---|---|---|---|',
    ]
    for result in results:
      entry = result['targets'][name]
      ridge = entry['baselines'][ridge_name]
      cells = map(
        runs.interval, (entry['mae'], ridge['mae'], ridge['mae_difference'])
      )
      count = result['examples']['train']
      lines.append(f'| {count} molecules | {" | ".join(cells)} |')
    sizes = [r['examples']['train'] for r in results]
    entries = [r['targets'][name] for r in results]
    ours = slope(sizes, [e['mae']['value'] for e in entries])
    theirs = slope(
      sizes, [e['baselines'][ridge_name]['mae']['value'] for e in entries]
    )
    lines += [f'| exponent of N | {ours} | {theirs} | |', '']
  return '\n'.join(lines)


def plot(results: list[dict], path: pathlib.Path) -> None:
  """MAE against the number of training molecules, one panel a target."""
  import matplotlib.figure

  ridge = results[0]['reference']
  names = list(results[0]['targets'])
  columns = min(3, len(names))
  lines = -(-len(names) // columns)
  figure = matplotlib.figure.Figure(
    figsize=(3.4 * columns, 2.8 * lines), layout='constrained'
  )
  axes = figure.subplots(lines, columns, squeeze=False).ravel()
  for axis in axes[len(names) :]:
    axis.set_visible(False)
  sizes = [r['examples']['train'] for r in results]
  for axis, name in zip(axes, names, strict=False):
    entries = [r['targets'][name] for r in results]
    for label, maes in (
      (', '.join(results[0]['channels']), [e['mae'] for e in entries]),
      (baselines.WORDS[ridge], [e['baselines'][ridge]['mae'] for e in entries]),
    ):
      value, low, high = (
        np.array([m[k] for m in maes]) for k in ('value', 'low', 'high')
      )
      axis.errorbar(
        sizes, value, (value - low, high - value), fmt='o-', capsize=3,
        markersize=4, label=label,
      )  # fmt: skip
    axis.set_xscale('log')
    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel('training molecules')
    axis.set_ylabel(f'MAE ({entries[0]["unit"]})')
  axes[0].legend(fontsize=8)
  figure.savefig(path, dpi=150)


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--config', default='configs/qm9_density.py')
  parser.add_argument('--sizes', type=int, nargs='+', required=True)
  parser.add_argument('--seeds', type=int, default=1)
  parser.add_argument('--fields', nargs='*', default=[], metavar='NAME=VALUE')
  args = parser.parse_args()
  fields = dict(field.split('=', 1) for field in args.fields)
  fields['data.data_dir'] = args.data_dir
  args.runs = args.runs.resolve()
  jobs = [
    (args.runs / f'{size}-seed{seed}', args.config,
     fields | {'data.train_size': size, 'train.seed': seed})
    for size in sorted(args.sizes) for seed in range(args.seeds)
  ]  # fmt: skip
  runs.launch_all(jobs)
  results = [runs.results(workdir) for workdir, _, _ in jobs]
  text = table(results) + (
    f'\nTest MAE on {results[0]["examples"]["test"]} molecules with the '
    'bootstrap 95 % interval over them; difference: paired by molecule.\n'
    f'\nMachine: {runs.machine(jobs[0][0])}; one run a core.\n'
  )
  (args.runs / 'curve.md').write_text(text)
  plot(results, args.runs / 'curve.png')
  print(text)


if __name__ == '__main__':
  main()
