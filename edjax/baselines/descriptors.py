"""Regressions on simple features: composition, results of GFN2-xTB, size."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from edjax.baselines import (
  features,
  kernel_ridge,
  logistic,
  ridge_regression,
)
from edjax.baselines.features import Features
from edjax.baselines.moments_alone import MAX_MOLECULES
from edjax.baselines.regression import Constant, Regression, groups
from edjax.data import packed_dataset

# The baseline that sees the input of the run.
MOMENTS = 'moments'
# Labels in tables.
LABELS = {
  'mean': 'mean',
  'median': 'median',
  'ridge_composition': 'ridge, composition',
  'ridge_gfn2': 'ridge, composition + GFN2',
  'kernel_gfn2': 'kernel ridge, composition + GFN2',
  'ridge_size': 'ridge, log ligand size',
  'ridge_ligand': 'ridge, ligand descriptors',
  'ridge_descriptors': 'ridge, descriptors',
  'logistic_composition': 'logistic, composition',
  'logistic_descriptors': 'logistic, descriptors',
  MOMENTS: 'moments of the input',
}
# Baseline whose difference a network learns, by `config.data.delta`.
_DELTAS = {
  'composition': 'ridge_composition',
  'gfn2': 'ridge_gfn2',
  'gfn2_kernel': 'kernel_gfn2',
}
# Parts of the training set, each of which is predicted without itself.
_FOLDS = 5
# Baselines of classes, by the ridge regression that has their features.
_OF_CLASSES = {
  'ridge_composition': 'logistic_composition',
  'ridge_descriptors': 'logistic_descriptors',
}


def reference(
  source: packed_dataset.Pack, delta: str, classes: bool = False
) -> str:
  """Returns the baseline of the differences paired by molecule.

  Args:
    source: the pack.
    delta: `config.data.delta`; where a network learns what a baseline leaves,
      it is that one.
    classes: whether targets are classes.
  """
  if delta:
    return _DELTAS[delta]
  if classes:
    return 'logistic_composition'
  of_complexes = features.SIZE in source.columns
  return 'ridge_ligand' if of_complexes else 'ridge_composition'


@dataclasses.dataclass(frozen=True)
class Fitted:
  """Baselines that were fitted to a dataset.

  Attributes:
    regressions: name -> regression.
  """

  regressions: Mapping[str, Regression]

  def predict(self, source: packed_dataset.Pack) -> dict[str, np.ndarray]:
    """Returns the predictions for all rows, name -> [N, T] in native units.

    Of classes they are probabilities of class 1.

    Raises:
      ValueError: the pack lacks a column that a regression needs.
    """
    return {
      name: regression.predict(source)
      for name, regression in self.regressions.items()
    }

  def delta(self, name: str) -> Regression:
    """Returns the regression whose difference a network learns.

    Args:
      name: `config.data.delta`, not ''.
    """
    return self.regressions[_DELTAS[name]]


def fit(
  source: packed_dataset.Pack, columns_NT, train, validation,
  classes: bool = False,
) -> Fitted:  # fmt: skip
  """Fits all baselines.

  Ridge strengths, and widths of kernels, are chosen on validation. Every target
  is fitted to the training rows in which it was measured, and chosen on such
  validation rows.

  Args:
    source: the pack.
    columns_NT: targets, native units, NaN where not measured; each is measured
      in both parts.
    train: rows.
    validation: rows.
    classes: whether targets are classes 0 and 1.

  Returns:
    Mean and median of the training targets; for molecules, ridge regressions
    on the composition, on composition and GFN2 energy, dipole and orbital
    energies of HOMO-2 to LUMO+2 (where the pack has them), the latter with a
    Gaussian kernel too (fitted to `MAX_MOLECULES` at most), and on composition
    and descriptors (where the pack has them); for complexes, ridge regressions
    on the ligand's composition, on the logarithm of its number of heavy atoms,
    and on simple descriptors of it (missing ones take the training mean). For
    classes: the rate of the class, and logistic regressions on composition and
    on descriptors.
  """
  measured = [*groups(columns_NT, train, validation)]

  def regression(features: Features, make) -> Regression:
    """Fits make(x, targets, train rows, validation rows) to each group."""
    x_NF = features(source)
    models = [
      make(x_NF, columns_NT.take(targets, 1), *rows)
      for targets, *rows in measured
    ]
    return Regression(
      features, tuple(models), tuple(targets for targets, *_ in measured)
    )

  constant = Features((), np.zeros(0, int))
  found = {'mean': regression(constant, _mean)}
  spaces = features.fit(source, train)
  if classes:
    for ridge, name in _OF_CLASSES.items():
      if ridge in spaces:
        found[name] = regression(spaces[ridge], _logistic)
    return Fitted(found)
  found['median'] = regression(constant, _median)
  for name, space in spaces.items():
    found[name] = regression(space, _ridge)
    if name == 'ridge_gfn2':
      found['kernel_gfn2'] = regression(space, _kernel)
  return Fitted(found)


def delta_offset(
  delta: str, predictions: dict, source: packed_dataset.Pack, columns_NT, train,
  validation,
) -> np.ndarray:  # fmt: skip
  """Returns what a network adds its differences to.

  A kernel regression is much closer to its training molecules than to others:
  a network would learn from differences that are too small. So each fifth of
  them gets the prediction of a fit without it.

  Args:
    delta: `config.data.delta`, not ''.
    predictions: of `fit`, with the same pack, targets and rows.
    source: the pack.
    columns_NT: targets, native units.
    train: rows.
    validation: rows.

  Returns:
    [N, T], native units.
  """
  offset_NT = predictions[_DELTAS[delta]]
  if delta != 'gfn2_kernel':
    return offset_NT
  offset_NT = offset_NT.copy()
  x_NF = features.fit(source, train)['ridge_gfn2'](source)
  for targets, train_rows, *validation_rows in groups(
    columns_NT, train, validation
  ):
    shuffled = np.random.default_rng(0).permutation(train_rows)
    for held in np.array_split(shuffled, _FOLDS):
      rest = np.setdiff1d(train_rows, held)
      y_NT = columns_NT.take(targets, 1)
      model = _kernel(x_NF, y_NT, rest, *validation_rows)
      offset_NT[np.ix_(held, targets)] = model.predict(x_NF[held])
  return offset_NT


def _mean(x_NF, y_NT, train, validation) -> Constant:
  del x_NF, validation
  return Constant(y_NT[train].mean(0))


def _median(x_NF, y_NT, train, validation) -> Constant:
  del x_NF, validation
  return Constant(np.median(y_NT[train], 0))


def _ridge(x_NF, y_NT, train, validation) -> ridge_regression.Ridge:
  return ridge_regression.ridge_fit(
    x_NF[train], y_NT[train], x_val=x_NF[validation], y_val=y_NT[validation]
  )


def _logistic(x_NF, y_NT, train, validation) -> logistic.Logistic:
  return logistic.fit(
    x_NF[train], y_NT[train], x_val=x_NF[validation], y_val=y_NT[validation]
  )


def _kernel(x_NF, y_NT, train, validation) -> kernel_ridge.KernelRidge:
  draw = np.random.default_rng(0)
  train, validation = (
    draw.permutation(rows)[:MAX_MOLECULES] for rows in (train, validation)
  )
  return kernel_ridge.fit(
    x_NF[train], y_NT[train], x_val=x_NF[validation], y_val=y_NT[validation]
  )
