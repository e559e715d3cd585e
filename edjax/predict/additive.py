"""A baseline that is a sum over atoms, of what a bare molecule has."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from edjax import baselines
from edjax.chem import elements
from edjax.molecule import LIGAND


@dataclasses.dataclass(frozen=True)
class Additive:
  """A constant and a number for each atom.

  Attributes:
    of_element_ZT: of each atomic number; 0 for padding.
    constant_T: added.
    of_ligands: whether atoms of the ligand alone count.
  """

  of_element_ZT: np.ndarray
  constant_T: np.ndarray
  of_ligands: bool

  @classmethod
  def of_regression(
    cls, regression: baselines.Regression | None, n_targets: int
  ) -> 'Additive':
    """Returns a regression on the composition in this form.

    Args:
      regression: of the run; None for none, which is 0.
      n_targets: number of targets.

    Raises:
      ValueError: it is one on other features.
    """
    of_element_ZT = np.zeros((elements.MAX_NUMBER + 1, n_targets))
    constant_T = np.zeros(n_targets)
    if regression is None:
      return cls(of_element_ZT, constant_T, False)
    features = regression.features
    if features.parts not in (('composition',), ('ligand',)):
      raise ValueError(f'the baseline is on {", ".join(features.parts)}')
    for model, targets in zip(
      regression.models, regression.targets, strict=True
    ):
      of_element_ZT[np.ix_(features.numbers_E, targets)] = model.weights_FT
      constant_T[targets] = model.intercept_T
    return cls(of_element_ZT, constant_T, features.parts == ('ligand',))

  def of(self, numbers_BA: np.ndarray, groups_BA: np.ndarray) -> np.ndarray:
    """Returns the baseline of each molecule in float64, [B, T]."""
    if self.of_ligands:
      numbers_BA = np.where(groups_BA == LIGAND, numbers_BA, 0)
    return self.of_element_ZT[numbers_BA].sum(-2) + self.constant_T

  def traced(self, numbers_A: jax.Array, groups_A: jax.Array) -> jax.Array:
    """Returns the baseline of one molecule, whose numbers may be traced."""
    if self.of_ligands:
      numbers_A = jnp.where(groups_A == LIGAND, numbers_A, 0)
    table_ZT = jnp.asarray(self.of_element_ZT, jnp.float32)
    constant_T = jnp.asarray(self.constant_T, jnp.float32)
    return table_ZT[numbers_A].sum(0) + constant_T
