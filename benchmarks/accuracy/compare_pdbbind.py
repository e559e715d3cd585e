"""Representations of complexes by cross-validation over protein clusters.

  python -m benchmarks.accuracy.compare_pdbbind --runs DIR --data_dir DIR \
    --manual_dir DIR_OF_PDBBIND [--representations density ...] [--seeds N]

Five folds that share no cluster of protein sequences: every complex is
predicted once by a network that saw none of its relatives, in training or
validation. Errors are of these predictions together, with intervals over
clusters. Nothing is tuned: every representation has the configuration's own
budget and learning rate. Runs that are finished are not run again. Writes
table.md.
"""

import argparse
import csv
import pathlib
import sys

import numpy as np

from benchmarks.accuracy import runs
from edjax import baselines
from edjax import config as configuration
from edjax.config.representation import dataset_variant
from edjax.data import loading, splitting
from edjax.evaluate import metrics

# Name: (configuration, fields that change).
REPRESENTATIONS = {
  'density': ('density', {}),
  'gradient': ('gradient', {}),
  'shape': ('shape', {}),
  'atoms': ('atoms', {}),
  'density, ligand alone': ('density', {'data.parts': "('ligand',)"}),
  'density, pocket alone': ('density', {'data.parts': "('pocket',)"}),
  'density, shuffled labels': ('density', {'data.shuffle_labels': True}),
}
FOLDS = 5
REFERENCE = 'density'
SCORES = ('rmse', 'mae', 'pearson', 'spearman')
# Clusters with a row of their own have at least so many complexes.
LARGE = 12


def run_dir(args, name, fold, seed) -> pathlib.Path:
  slug = name.replace(', ', '_').replace(' ', '_')
  return args.runs / f'{slug}-fold{fold}-seed{seed}'


def fields(args, name, fold, seed) -> dict:
  """Overrides of one run."""
  return {
    'data.data_dir': args.data_dir,
    'data.manual_dir': args.manual_dir,
    'data.folds': FOLDS,
    'data.fold': fold,
    'train.seed': seed,
    **REPRESENTATIONS[name][1],
  }


def predictions(path: pathlib.Path) -> dict[str, float]:
  """id -> predicted pK of a run's test set."""
  with (path / 'predictions_test.csv').open(newline='') as file:
    return {row['id']: float(row['prediction']) for row in csv.DictReader(file)}


def pooled(args, name, ids) -> np.ndarray:
  """Out-of-fold predictions in the order of ids, the mean over seeds."""
  found = []
  for seed in range(args.seeds):
    one = {}
    for fold in range(FOLDS):
      one |= predictions(run_dir(args, name, fold, seed))
    found.append([one[key] for key in ids])
  return np.mean(found, axis=0)


def pooled_baselines(args, source, config) -> dict[str, np.ndarray]:
  """Out-of-fold predictions of the baselines, for all rows of the pack."""
  columns_NT = source.columns['pk'][:, None]
  found = {}
  for fold in range(FOLDS):
    config.data.fold = fold
    rows = splitting.make_split(source, config.data)
    fitted = baselines.fit(source, columns_NT, rows.train, rows.validation)
    for name, values_NT in fitted.items():
      found.setdefault(name, np.full(len(source), np.nan))
      found[name][rows.test] = values_NT[rows.test, 0]
  return found


def table(truth, guesses, cluster_N) -> list[str]:
  """A row for each input or baseline."""
  lines = [
    '| input | RMSE (pK) | MAE (pK) | Pearson | Spearman | MAE minus that of '
    f'{REFERENCE} |',
    '|---|---|---|---|---|---|',
  ]
  for name, guess in guesses.items():
    scores = metrics.bootstrap(truth, guess, 2000, clusters_N=cluster_N)
    cells = [
      f'{s["value"]:.3f} ({s["low"]:.3f} to {s["high"]:.3f})'
      # The mean of each fold is no predictor whose correlation means anything.
      if name not in ('mean', 'median') or score in ('rmse', 'mae')
      else '-'
      for score, s in ((score, scores[score]) for score in SCORES)
    ]
    difference = metrics.paired_mae_difference(
      truth, guess, guesses[REFERENCE], 2000, clusters_N=cluster_N
    )
    cells.append('' if name == REFERENCE else runs.interval(difference))
    words = baselines.WORDS.get(name, name)
    lines.append(f'| {words} | {" | ".join(cells)} |')
  return lines


def cluster_table(truth, guesses, cluster_N, source) -> list[str]:
  """A row for each large cluster: what is left within a family."""
  labels, counts = np.unique(cluster_N, return_counts=True)
  chosen = labels[counts >= LARGE][np.argsort(-counts[counts >= LARGE])]
  head = '| cluster of | complexes | mean pK | standard deviation |'
  lines = [
    head + ''.join(f' {baselines.WORDS.get(n, n)} |' for n in guesses),
    '|---' * (4 + len(guesses)) + '|',
  ]
  for label in chosen:
    where = np.flatnonzero(cluster_N == label)
    cells = [
      min(source.ids[i] for i in where),
      str(len(where)),
      f'{truth[where].mean():.2f}',
      f'{truth[where].std():.2f}',
      *(
        f'{metrics.scores(truth[where], g[where])["rmse"]:.2f}'
        for g in guesses.values()
      ),
    ]
    lines.append(f'| {" | ".join(cells)} |')
  return lines


def report(args) -> str:
  """Returns the tables, of the representations that were asked for."""
  from configs import pdbbind_density

  config = pdbbind_density.get_config()
  config.data.data_dir, config.data.manual_dir = args.data_dir, args.manual_dir
  config.data.folds = FOLDS
  configuration.resolve(config)
  source = loading.load_pack(config.data, dataset_variant(config))
  truth, cluster_N = source.columns['pk'], source.columns['cluster']
  guesses = {
    name: pooled(args, name, source.ids) for name in args.representations
  }
  guesses |= pooled_baselines(args, source, config)
  first = run_dir(args, args.representations[0], 0, 0)
  minutes = {
    name: sum(
      runs.results(run_dir(args, name, fold, seed))['seconds']
      for fold in range(FOLDS)
      for seed in range(args.seeds)
    )
    / 60
    for name in args.representations
  }
  spent = ', '.join(f'{name} {m:.0f}' for name, m in minutes.items())
  return '\n'.join(
    [
      *table(truth, guesses, cluster_N),
      '',
      f'{len(truth)} complexes in {len(set(cluster_N))} clusters; {FOLDS} '
      'folds, 95 % bootstrap intervals over clusters.',
      '',
      f'RMSE within clusters of at least {LARGE} complexes (named by their '
      'smallest PDB id):',
      '',
      *cluster_table(truth, guesses, cluster_N, source),
      '',
      f'Minutes of one core for all folds: {spent}.',
      '',
      f'Machine: {runs.machine(first)}; one run a core.',
      '',
    ]
  )


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--runs', type=pathlib.Path, required=True)
  parser.add_argument('--manual_dir', required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument(
    '--representations',
    nargs='+',
    choices=REPRESENTATIONS,
    default=list(REPRESENTATIONS),
  )
  parser.add_argument('--seeds', type=int, default=1)
  args = parser.parse_args()
  if REFERENCE not in args.representations:
    sys.exit(
      f'--representations must hold {REFERENCE!r}, with which the others are '
      'compared'
    )
  args.runs = args.runs.resolve()
  runs.launch_all(
    [
      (run_dir(args, name, fold, seed),
       f'configs/pdbbind_{REPRESENTATIONS[name][0]}.py',
       fields(args, name, fold, seed))
      for seed in range(args.seeds) for name in args.representations
      for fold in range(FOLDS)
    ]
  )  # fmt: skip
  text = report(args)
  (args.runs / 'table.md').write_text(text)
  print(text)


if __name__ == '__main__':
  main()
