import numpy as np
import pytest
import scipy.constants

from edjax.chem import units


def test_equal_to_scipys_codata():
  # scipy carries CODATA 2022 from 1.15 on; earlier sets differ in the ninth
  # digit of the bohr and the tenth of the Hartree.
  bohr = scipy.constants.value('Bohr radius') * 1e10
  hartree = scipy.constants.value('Hartree energy in eV')
  au = scipy.constants.value('atomic unit of electric dipole mom.')
  assert units.BOHR_A == pytest.approx(bohr, rel=1e-9)
  assert units.HARTREE_EV == pytest.approx(hartree, rel=1e-10)
  # The Coulomb constant times e, in V Å.
  vacuum = scipy.constants.epsilon_0
  coulomb = scipy.constants.e / (4 * np.pi * vacuum) * 1e10
  assert units.COULOMB_V == pytest.approx(coulomb, rel=1e-9)
  assert units.HARTREE_MEV == pytest.approx(1e3 * hartree, rel=1e-10)
  # 1 D = 1e-18 statC cm and 1 statC = 10/c C (c in cm/s)
  debye = 1e-18 * 10 / (scipy.constants.c * 100) * 1e-2
  assert units.AU_DIPOLE_D == pytest.approx(au / debye, rel=1e-9)


def test_known_dipole_unit():
  assert units.AU_DIPOLE_D == pytest.approx(2.541746, rel=1e-6)
