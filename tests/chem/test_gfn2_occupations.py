"""Valence electrons of free atoms."""

import numpy as np

from edjax.chem import gfn2_occupations


def test_valence_electrons():
  # d and f shells that are full belong to the core.
  known = {
    0: 0, 1: 1, 2: 2, 6: 4, 11: 1, 17: 7, 26: 8, 30: 2, 53: 7, 78: 10,
  }  # fmt: skip
  found = gfn2_occupations.valence_electrons(list(known))
  np.testing.assert_allclose(found, list(known.values()), atol=1e-12)


def test_elements_beyond_radon_have_no_number():
  found = gfn2_occupations.valence_electrons([6, 86, 87, 98])
  np.testing.assert_array_equal(found, [4, 8, np.nan, np.nan])
