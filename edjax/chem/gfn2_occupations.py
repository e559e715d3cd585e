"""Valence electrons of free atoms in GFN2-xTB.

The reference occupations of its parametrisation; `tables/gfn2_occupations.json`
names the source.
"""

import functools
import importlib.resources
import json

import numpy as np

from edjax.chem import gfn2_basis


@functools.cache
def occupations() -> np.ndarray:
  """Reference occupations of the valence shells: [87, 3] by Z and l."""
  path = importlib.resources.files('edjax.chem') / 'tables'
  text = (path / 'gfn2_occupations.json').read_text(encoding='utf-8')
  rows = json.loads(text)['elements']
  return np.array([[0.0, 0.0, 0.0], *(row[2:5] for row in rows)])


def valence_electrons(numbers) -> np.ndarray:
  """Valence electrons of each neutral atom in GFN2-xTB.

  Args:
    numbers: [...] atomic numbers up to 86, 0 for padding.

  Returns:
    [...], same shape.

  Raises:
    ValueError: an element beyond Rn.
  """
  numbers = np.asarray(numbers)
  if numbers.size and numbers.max() > gfn2_basis.MAX_NUMBER:
    raise ValueError(
      f'GFN2-xTB has no atomic number {numbers.max()} (it covers H to Rn)'
    )
  return occupations().sum(axis=1)[numbers]
