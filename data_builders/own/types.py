"""Types that the readers of users' files share."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Options(NamedTuple):
  """Names of columns; '' for the usual names (see `columns.USUAL`), if any.

  Attributes:
    id: of ids.
    smiles: of SMILES.
    charge: of total charges, in elementary charges.
    unpaired: of numbers of unpaired electrons.
  """

  id: str = ''
  smiles: str = ''
  charge: str = ''
  unpaired: str = ''


class Raw(NamedTuple):
  """One record of a user's file.

  Attributes:
    example_id: as in the file, or made of its name and the record's number.
    index: number of the record in the source, from 1.
    where: such as 'a.sdf, record 3'.
    numbers: [A] atomic numbers, int32; None where the geometry is still to be
      made from the SMILES.
    coords: [A, 3] Å, float64; None as `numbers`.
    smiles: canonical, with stereo; '' where bonds are not known.
    charge: total charge.
    unpaired: number of unpaired electrons.
    values: name of a column -> what the file has there.
    notes: what was done to it, such as 'hydrogens added'; '' for nothing.
    problem: why it cannot be used; '' where it can.
    density: path of the file with its density; '' where xTB calculates it.
  """

  example_id: str
  index: int
  where: str
  numbers: np.ndarray | None = None
  coords: np.ndarray | None = None
  smiles: str = ''
  charge: int = 0
  unpaired: int = 0
  values: Mapping[str, str | float] = {}
  notes: str = ''
  problem: str = ''
  density: str = ''


class RecordError(ValueError):
  """A record that cannot be used; the message says why."""
