import numpy as np
import pytest
import scipy.constants

from edjax import units


def test_equal_to_scipys_codata():
  # scipy carries CODATA 2022 from 1.15 on; earlier sets differ in the ninth
  # digit of the bohr and the tenth of the Hartree.
  bohr = scipy.constants.value('Bohr radius') * 1e10
  hartree = scipy.constants.value('Hartree energy in eV')
  au = scipy.constants.value('atomic unit of electric dipole mom.')
  assert units.BOHR_A == pytest.approx(bohr, rel=1e-9)
  assert units.HARTREE_EV == pytest.approx(hartree, rel=1e-10)
  assert units.HARTREE_MEV == pytest.approx(1e3 * hartree, rel=1e-10)
  # 1 D = 1e-18 statC cm and 1 statC = 10/c C (c in cm/s)
  debye = 1e-18 * 10 / (scipy.constants.c * 100) * 1e-2
  assert units.AU_DIPOLE_D == pytest.approx(au / debye, rel=1e-9)


def test_known_dipole_unit():
  assert units.AU_DIPOLE_D == pytest.approx(2.541746, rel=1e-6)


def test_round_trip():
  lengths = np.linspace(-3, 3, 7)
  there = units.A_to_bohr(lengths)
  assert there[-1] > lengths[-1]  # a bohr is shorter than an Å
  np.testing.assert_allclose(units.bohr_to_A(there), lengths, rtol=1e-15)


def test_densities_keep_their_integral():
  # A hydrogen atom, 1/pi exp(-2 r) in e/bohr^3, holds 1 electron in Å as
  # well, and the gradient's unit is the density's per Å.
  r = np.linspace(0, 15, 20001)
  rho = units.density_au_to_A3(np.exp(-2 * units.A_to_bohr(r)) / np.pi)
  assert np.trapezoid(4 * np.pi * r**2 * rho, r) == pytest.approx(1, rel=1e-6)
  slope = units.gradient_au_to_A4(-2 * np.exp(-2 * units.A_to_bohr(r)) / np.pi)
  np.testing.assert_allclose(
    np.gradient(rho, r)[1:-1], slope[1:-1], rtol=0, atol=1e-5 * -slope[0]
  )
