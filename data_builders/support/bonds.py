"""Bonds of a molecule, from its coordinates alone."""

import numpy as np

from edjax.chem import units


def bonds_from_distances(numbers, coords_A3):
  """Returns pairs closer than 1.2 times the sum of covalent radii, {(i, j)}.

  In some 760 molecules of this kind the longest bond is at 1.16 (N-O of
  the 3-ring C1=NO1) and the closest pair that is none, across the
  4-ring of C=C1OCO1, at 1.25. Radii: Cordero et al., Dalton Trans. 2008,
  2832, as RDKit tabulates them.

  Args:
    numbers: atomic numbers, [A].
    coords_A3: bohr, [A, 3].
  """
  from rdkit import Chem

  table = Chem.GetPeriodicTable()
  radii = np.array([table.GetRcovalent(int(z)) for z in numbers]) / units.BOHR_A
  distance = np.linalg.norm(coords_A3[:, None] - coords_A3[None], axis=-1)
  close = distance < 1.2 * (radii[:, None] + radii[None])
  return {(int(i), int(j)) for i, j in np.argwhere(close) if i < j}
