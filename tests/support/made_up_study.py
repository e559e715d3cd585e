"""Writes directories of studies with errors that are known beforehand."""

import json
import pathlib

import numpy as np

from edjax import datasets as known
from edjax.evaluate import metrics
from edjax.runtime import run_directory

FACTS = {
  'config': {
    'representation.channels': ['density'],
    'representation.density': 'xtb',
    'train.batch_size': 32,
  },
  'data': {'fingerprint': 'f', 'split_sha256': 's'},
  'python': '3.11.7',
  'machine': 'Linux x86_64',
  'cpu_count': 1,
  'cpu_total': 2,
  'device': 'cpu',
  'device_count': 1,
  'versions': {'jax': '0.10.1', 'edjax': '0.1.0'},
}  # fmt: skip


def entry(
  representation, size, seed, ablation='main', setting='', fold=-1, init=0
):
  """Returns a run as plan.json has it."""
  name = f'{representation}-n{size}-s{seed}'
  name += f'-f{fold}' if fold >= 0 else ''
  name += f'-i{init}' if init else ''
  if ablation != 'main':
    name += f'-{ablation}{setting.replace(" ", "")}'
  return {
    'name': name, 'ablation': ablation, 'setting': setting,
    'representation': representation, 'size': size,
    'subset_seed': seed, 'init_seed': init, 'fold': fold,
  }  # fmt: skip


def plan(entries, dataset='qm9', primary=('gap', 'mu'), **more):
  """Returns plan.json."""
  names = dict.fromkeys(e['representation'] for e in entries)
  return {
    'format': 2,
    'title': 'A made-up study',
    'dataset': dataset,
    'primary': list(primary),
    'metric': 'mae',
    'margins': {},
    'hypotheses': ['H4', 'H5a'],
    'labels': {n: n.replace('_', ' + ') for n in names},
    'entries': entries,
    **more,
  }


class Writer:
  """Writes runs whose absolute errors have a chosen mean.

  Args:
    directory: of the study.
    content: plan.json.
    error: (entry, target) -> mean absolute error, display units; mean log loss
      where that is the plan's metric.
    tests: number of test examples (of a fold).
    clusters: number of test examples in a cluster; 0: no clusters.
    pool: number of labels that subsets are drawn from.
    gaps: test examples of which the last target was not measured, the first
      ones.
  """

  def __init__(
    self, directory, content, error, tests=60, clusters=0, pool=10_000, gaps=0
  ):
    self.path = pathlib.Path(directory)
    self.path.mkdir(parents=True, exist_ok=True)
    self.plan, self.error = content, error
    self.tests, self.clusters, self.pool = tests, clusters, pool
    self.gaps, self.classes = gaps, content['metric'] == 'log_loss'
    text = json.dumps(content)
    (self.path / 'plan.json').write_text(text, encoding='utf-8')

  def finish(self, chosen=lambda entry: True) -> None:
    """Writes all runs that are chosen."""
    for e in self.plan['entries']:
      if chosen(e):
        self.run(e)

  def run(self, e, ids=None) -> pathlib.Path:
    """Writes a finished run, with other ids than the usual ones if given."""
    names = self.plan['primary']
    fold = max(e['fold'], 0)
    usual = [f't{fold}_{i:04d}' for i in range(self.tests)]
    truth_NT = 5 + np.random.default_rng(fold).normal(
      size=(self.tests, len(names))
    )
    if self.classes:
      truth_NT = (truth_NT > 5).astype(float)
    truth_NT[: self.gaps, -1] = np.nan
    rng = np.random.default_rng(list(e['name'].encode()))
    # Shared by all runs: some molecules are harder than others.
    hard_N = np.random.default_rng(99 + fold).uniform(0.5, 1.5, self.tests)
    sign_N = np.random.default_rng(77).choice([-1, 1], self.tests)
    prediction_NT = truth_NT.copy()
    results = {
      'dataset': self.plan['dataset'],
      'examples': {
        'train': round(0.8 * e['size']), 'validation': round(0.2 * e['size']),
        'test': self.tests,
      },
      'channels': [e['representation']],
      'pool': self.pool,
      'rotations': 2,
      'reference': 'ridge_composition',
      'targets': {},
      'selected_step': 10,
      'trained_steps': 10,
      'parameters': 1000,
      'seconds': 10.0 + e['size'] / 100,
      'cost': {
        'xtb_seconds_per_molecule': 0.05,
        'voxelize_seconds_per_molecule': 0.002,
        'train_seconds_per_step': 0.1,
      },
    }  # fmt: skip
    for j, name in enumerate(names):
      _, unit, factor = known.DATASETS[self.plan['dataset']].target(name)
      size_N = hard_N / hard_N.mean() * (1 + 0.05 * rng.normal())
      error_N = self.error(e, name) * size_N * sign_N / factor
      if self.classes:
        of_true_N = np.exp(-np.abs(error_N))
        one_N = truth_NT[:, j] == 1
        prediction_NT[:, j] = np.where(one_N, of_true_N, 1 - of_true_N)
      else:
        prediction_NT[:, j] += error_N
      ridge = 3 / e['size'] ** 0.1 * (1 + 0.02 * np.sin(e['subset_seed']))
      measured_N = np.isfinite(truth_NT[:, j])
      pair = (x[measured_N, j] * factor for x in (truth_NT, prediction_NT))
      results['targets'][name] = {
        'unit': unit,
        **{
          name: {'value': entry['value']}
          for name, entry in metrics.bootstrap(
            *pair, resamples=1, classes=self.classes
          ).items()
        },
        'measured': results['examples'] | {'test': int(measured_N.sum())},
        'rotation_spread': 0.1,
        'baselines': {
          b: self._scores(ridge * k)
          for b, k in (('mean', 1.6), ('median', 1.5), ('ridge_composition', 1))
        },
      }
      # The baseline that sees the input: each input has its own.
      of_input = 2 * ridge + len(e['representation'])
      results['targets'][name]['baselines']['moments'] = self._scores(of_input)
    run = run_directory.RunDirectory(self.path / 'runs' / e['name'])
    run.path.mkdir(parents=True)
    text = json.dumps(FACTS)
    (run.path / 'config.json').write_text(text, encoding='utf-8')
    groups = None
    if self.clusters:
      groups = [f'c{fold}_{i // self.clusters}' for i in range(self.tests)]
    run.write_predictions(
      'test', ids or usual, names, truth_NT, prediction_NT, groups
    )
    run.finish(results)
    return run.path

  def _scores(self, error):
    """Returns the scores of a baseline."""
    if self.classes:
      return {'log_loss': {'value': error}}
    return {'mae': {'value': error}, 'rmse': {'value': 1.3 * error}}


def falling(levels):
  """Returns errors that are the representation's level times n^-0.3."""
  return lambda e, target: (
    levels[e['representation']] * (e['size'] / 100) ** -0.3
  )
