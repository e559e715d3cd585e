"""Results of a run, made up."""

import numpy as np

from edjax.evaluate import metrics


def made_up_results():
  rng = np.random.default_rng(0)
  truth = rng.normal(size=30)
  guess = truth + 0.1 * rng.normal(size=30)
  scores = metrics.bootstrap(truth, guess, resamples=200)
  flat = metrics.bootstrap(truth, np.zeros(30), resamples=200)
  entry = {'unit': 'meV', 'rotation_std': 0.012, **scores}
  entry['baselines'] = {
    'mean': flat,
    'median': flat,
    'ridge_composition': {
      **scores,
      'mae_difference': {'value': -0.5, 'low': -0.75, 'high': -0.25},
    },
  }
  results = {
    'dataset': 'qm9_mini',
    'examples': {'train': 80, 'validation': 10, 'test': 30},
    'channels': ['density'],
    'rotations': 2,
    'reference': 'ridge_composition',
    'targets': {'gap': entry, 'homo': entry},
  }
  return results, truth, guess
