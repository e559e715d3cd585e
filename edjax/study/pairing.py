"""Combines the predictions of runs on the same test examples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edjax.study.results import Run

# True values of a molecule may differ so much by rounding between machines.
_SAME = 1e-6


class PairingError(ValueError):
  """Runs that are compared were not tested on the same examples."""


class Replicates(NamedTuple):
  """Predictions of one target by replicates on the same test examples.

  A replicate is a run, or all folds of one.

  Attributes:
    name: of the first run.
    seeds: subset seed of each replicate.
    ids_N: test examples, in order.
    clusters_N: their clusters.
    target_N: true values, native units.
    prediction_SN: one row per replicate, native units.
  """

  name: str
  seeds: Sequence[int]
  ids_N: np.ndarray
  clusters_N: np.ndarray
  target_N: np.ndarray
  prediction_SN: np.ndarray

  def only(self, ids: np.ndarray) -> 'Replicates':
    """Selects test examples by their ids."""
    chosen_N = np.isin(self.ids_N, ids)
    arrays = (x[..., chosen_N] for x in self[2:])
    return Replicates(self.name, self.seeds, *arrays)


def stack(folds_of: Sequence[Sequence[Run]], target: str) -> Replicates:
  """Stacks the predictions of replicates.

  Args:
    folds_of: the runs of each replicate, at least one.
    target: name of the target.

  Raises:
    PairingError: test examples or their values differ between replicates, or
      folds share examples.
  """
  replicates = [_pool(folds, target) for folds in folds_of]
  for replicate in replicates:
    check(replicates[0], replicate)
  return replicates[0]._replace(
    seeds=[seed for replicate in replicates for seed in replicate.seeds],
    prediction_SN=np.concatenate([r.prediction_SN for r in replicates]),
  )


def _pool(folds: Sequence[Run], target: str) -> Replicates:
  """Joins the predictions of a replicate's folds, in the order of ids."""
  parts = [run.predictions[target] for run in folds]
  names_N = np.repeat([r.name for r in folds], [len(p.ids_N) for p in parts])
  joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
  order_N = np.argsort(joined[0], kind='stable')
  ids_N, *others, prediction_N = (column[order_N] for column in joined)
  twice = np.flatnonzero(ids_N[1:] == ids_N[:-1])
  if len(twice):
    i = twice[0]
    one, other = names_N[order_N[i : i + 2]]
    raise PairingError(
      f'{ids_N[i]} is a test example of {one} and again of {other}: '
      'folds must not share examples'
    )
  first = folds[0]
  return Replicates(
    first.name, [first.subset_seed], ids_N, *others, prediction_N[None]
  )


def check(a: Replicates, b: Replicates) -> None:
  """Checks that two replicates have the same test examples.

  Raises:
    PairingError: ids, or the true values of an id, differ. Names both.
  """
  if not np.array_equal(a.ids_N, b.ids_N):
    differing = sorted(set(a.ids_N.tolist()) ^ set(b.ids_N.tolist()))
    raise PairingError(
      f'{a.name} and {b.name} were tested on different examples: '
      f'{len(differing)} are in one alone, such as {differing[0]}'
    )
  size = np.abs(a.target_N).max(initial=0.0)
  off = np.flatnonzero(np.abs(a.target_N - b.target_N) > _SAME * size)
  if len(off):
    i = off[0]
    raise PairingError(
      f'{a.name} and {b.name} have different true values for {len(off)} test '
      f'examples, such as {a.ids_N[i]}: {a.target_N[i]:g} and '
      f'{b.target_N[i]:g}; their ids are mixed up'
    )
