"""Fitted regressions: from a pack to predictions, kept in arrays."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from edjax.baselines.features import Features
from edjax.baselines.kernel_ridge import KernelRidge
from edjax.baselines.logistic import Logistic
from edjax.baselines.ridge_regression import Ridge
from edjax.data import packed_dataset


@dataclasses.dataclass(frozen=True)
class Constant:
  """The same prediction for everything.

  Attributes:
    value_T: the prediction.
  """

  value_T: np.ndarray

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns predictions, [N, T]."""
    return np.ones((len(x_NF), 1)) * self.value_T

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays that make an equal one."""
    return {'value_T': self.value_T}


class Model(Protocol):
  """A map from features to targets."""

  def predict(self, x_NF: np.ndarray) -> np.ndarray:
    """Returns predictions, [N, T]."""

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns the arrays that make one of equal predictions."""


# Name of a model's class -> the function of its arrays.
_MODELS = {
  'Constant': Constant,
  'Ridge': Ridge,
  'KernelRidge': KernelRidge.of_arrays,
  'Logistic': Logistic,
}


@dataclasses.dataclass(frozen=True)
class Regression:
  """A regression on features of a pack.

  Attributes:
    features: of the pack.
    models: of groups of targets that were measured on the same molecules.
    targets: of each model, the targets' numbers.
  """

  features: Features
  models: tuple[Model, ...]
  targets: tuple[np.ndarray, ...]

  def predict(self, source: packed_dataset.Pack) -> np.ndarray:
    """Returns the predictions for all rows, [N, T] in native units.

    Raises:
      ValueError: the pack lacks a column that features need.
    """
    x_NF = self.features(source)
    prediction_NT = np.empty((len(x_NF), sum(map(len, self.targets))))
    for model, targets in zip(self.models, self.targets, strict=True):
      prediction_NT[:, targets] = model.predict(x_NF)
    return prediction_NT

  def arrays(self) -> dict[str, np.ndarray]:
    """Returns what `of_arrays` makes an equal regression of; no pickle."""
    of_features = dataclasses.asdict(self.features)
    found = {f'features.{k}': np.asarray(v) for k, v in of_features.items()}
    found['kinds'] = np.array([type(model).__name__ for model in self.models])
    for i, (model, targets) in enumerate(
      zip(self.models, self.targets, strict=True)
    ):
      found[f'{i}.targets'] = targets
      found |= {f'{i}.model.{k}': v for k, v in model.arrays().items()}
    return found


def of_arrays(arrays: Mapping[str, np.ndarray]) -> Regression:
  """Returns the regression of `Regression.arrays`."""

  def below(prefix: str) -> dict[str, np.ndarray]:
    names = [name for name in arrays if name.startswith(prefix)]
    return {name.removeprefix(prefix): arrays[name] for name in names}

  of_features = below('features.')
  for name in ('parts', 'columns'):
    of_features[name] = tuple(of_features[name].tolist())
  kinds = arrays['kinds'].tolist()
  return Regression(
    Features(**of_features),
    tuple(_MODELS[k](**below(f'{i}.model.')) for i, k in enumerate(kinds)),
    tuple(arrays[f'{i}.targets'] for i in range(len(kinds))),
  )


def groups(
  columns_NT: np.ndarray, train: np.ndarray, validation: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Groups targets that were measured on the same molecules.

  Args:
    columns_NT: targets, NaN where not measured.
    train: rows.
    validation: rows.

  Yields:
    Numbers of targets, and their measured rows of both parts.
  """
  known_NT = ~np.isnan(columns_NT)
  patterns_TN = known_NT[np.concatenate([train, validation])].T
  _, group_T = np.unique(patterns_TN, axis=0, return_inverse=True)
  for group in range(group_T.max() + 1):
    targets = np.flatnonzero(group_T == group)
    known_N = known_NT[:, targets[0]]
    yield targets, train[known_N[train]], validation[known_N[validation]]
