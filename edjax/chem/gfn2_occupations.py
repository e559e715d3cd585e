"""Valence electrons of free atoms in GFN2-xTB.

The reference occupations of its parametrisation; `tables/gfn2_occupations.json`
names the source.
"""

import functools

import numpy as np

from edjax.chem import elements


@functools.cache
def occupations() -> np.ndarray:
  """Returns reference occupations of valence shells, by atomic number and l.

  Returns:
    occupations_Z3 of H to Cf; 0 for padding (Z = 0), NaN beyond Rn.
  """
  rows = elements.read_table('gfn2_occupations')['elements']
  occupations_Z3 = np.full((elements.MAX_NUMBER + 1, 3), np.nan)
  occupations_Z3[0] = 0
  occupations_Z3[1 : len(rows) + 1] = [row[2:5] for row in rows]
  return occupations_Z3


def valence_electrons(numbers) -> np.ndarray:
  """Counts the valence electrons of neutral atoms in GFN2-xTB.

  Args:
    numbers: [...] atomic numbers up to 98, 0 for padding.

  Returns:
    [...], same shape; NaN beyond Rn, where GFN2-xTB ends.
  """
  return occupations().sum(axis=1)[np.asarray(numbers)]
