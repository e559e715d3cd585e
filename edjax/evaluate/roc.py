"""The picture of a run on classes: receiver operating characteristics."""

from collections.abc import Mapping

import numpy as np


def figure(predictions: Mapping[str, np.ndarray], results: dict):
  """Returns matplotlib's figure of the curve of each target.

  Args:
    predictions: target -> [n, 2] classes (NaN where not measured) and
      probabilities of class 1.
    results: contents of results.json. Targets of which a class is absent have
      no curve.
  """
  import matplotlib.figure  # no pyplot: nothing to display, no global state
  from sklearn import metrics

  picture = matplotlib.figure.Figure(figsize=(4.5, 4.5), layout='constrained')
  axis = picture.add_subplot()
  axis.plot((0, 1), (0, 1), color='0.6', linewidth=1, zorder=0)
  for name, entry in results['targets'].items():
    class_N, prediction_N = predictions[name].T
    measured_N = ~np.isnan(class_N)
    if entry['share'] in (0, 1):
      continue
    wrong_U, found_U, _ = metrics.roc_curve(
      class_N[measured_N], prediction_N[measured_N]
    )
    label = f'{name}: AUROC {entry["auroc"]["value"]:.2f}'
    axis.plot(wrong_U, found_U, label=label)
  if len(axis.lines) > 1:
    axis.legend(loc='lower right')
  axis.set_xlabel('class 0 taken for 1 (share)')
  axis.set_ylabel('class 1 found (share)')
  axis.set_aspect('equal')
  return picture
