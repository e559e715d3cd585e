"""The record of a molecule."""

from typing import NamedTuple

import numpy as np


class Record(NamedTuple):
  """One molecule of a source, before xTB.

  Attributes:
    example_id: unique in the dataset.
    index: number in the source.
    numbers: [A] atomic numbers, int32.
    coords: [A, 3] Å, float64.
    smiles: as in the source.
    targets: name -> value, native units (`edjax.datasets`).
    charge: total charge.
    unpaired: number of unpaired electrons.
  """

  example_id: str
  index: int
  numbers: np.ndarray
  coords: np.ndarray
  smiles: str
  targets: dict[str, float]
  charge: int = 0
  unpaired: int = 0
