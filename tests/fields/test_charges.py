"""Charge and potential against tblite's dipole, PySCF and sum rules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from support import gfn2_pyscf

from data_builders import xtb
from edjax import fields, geometry
from edjax import grid as grids
from edjax.chem import gfn2_occupations, units
from edjax.grid import Grid
from edjax.molecule import Molecule, origin_weights

# Formamide, methanethiol (which has d functions), and an ion, Å.
MOLECULES = {
  'formamide': (
    [6, 8, 7, 1, 1, 1],
    [[0.16, 0.39, 0.0], [1.20, -0.25, 0.0], [-1.08, -0.16, 0.0],
     [0.13, 1.49, 0.0], [-1.92, 0.40, 0.1], [-1.16, -1.17, 0.0]],
  ),
  'thiol': (
    [6, 16, 1, 1, 1, 1],
    [[-0.05, 1.15, 0.0], [-0.05, -0.66, 0.0], [1.28, -0.83, 0.1],
     [-1.09, 1.46, 0.0], [0.43, 1.54, 0.9], [0.43, 1.54, -0.9]],
  ),
  'oxonium': (
    [8, 1, 1, 1],
    [[0.0, 0, 0], [0.93, 0.2, 0.2], [-0.63, 0.72, 0.2], [-0.3, -0.9, 0.2]],
  ),
}  # fmt: skip
CHARGES = {'oxonium': 1}
# Where sums over sub-points are integrals.
FINE = Grid(48, 0.25)

charge_grid = jax.jit(fields.charge_grid, static_argnums=(1, 2))
potential_grid = jax.jit(fields.potential_grid, static_argnums=(1, 2))


@functools.cache
def _result(name):
  return xtb.run(*MOLECULES[name], total_charge=CHARGES.get(name, 0))


def _mol(name, **padding) -> Molecule:
  numbers, coords = MOLECULES[name]
  return Molecule.from_arrays(
    numbers, coords, _result(name).orbitals, **padding
  )


def _moment(charge_XYZ, grid, origin_3=(0, 0, 0)):
  """Dipole moment in D."""
  places = grids.centres(grid) - np.asarray(origin_3)
  moment_3 = np.asarray(charge_XYZ, np.float64).ravel() @ places
  return moment_3 * grid.voxel_volume / units.BOHR_A * units.AU_DIPOLE_D


@pytest.mark.parametrize('name', MOLECULES)
def test_the_integral_is_the_charge(name):
  charge_XYZ = charge_grid(_mol(name), FINE, 2)
  total = float(charge_XYZ.sum()) * FINE.voxel_volume
  assert total == pytest.approx(CHARGES.get(name, 0), abs=3e-3)
  # Of either sign, and not a trifle.
  assert charge_XYZ.min() < -0.5
  assert charge_XYZ.max() > 0.5


@pytest.mark.parametrize('name', ['formamide', 'thiol'])
def test_coarse_voxels_hold_it_as_well(name):
  """At 0.5 Å with 2 sub-points, in 4 poses.

  Measured: up to 2.4e-3 of the electrons and 0.18 D.
  """
  mol, grid = _mol(name), Grid(24, 0.5)
  dipole = np.linalg.norm(_result(name).dipole)
  for seed in range(4):
    turn = geometry.random_rotation(jax.random.key(seed))
    charge_XYZ = charge_grid(geometry.rotate(mol, turn), grid, 2)
    total = float(charge_XYZ.sum()) * grid.voxel_volume
    assert abs(total) < 3e-3 * _result(name).n_electrons
    moment = np.linalg.norm(_moment(charge_XYZ, grid))
    assert moment == pytest.approx(dipole, abs=0.3)


@pytest.mark.parametrize('name', ['formamide', 'thiol'])
def test_the_first_moment_is_the_dipole_about_any_origin(name):
  mol = _mol(name)
  charge_XYZ = charge_grid(mol, FINE, 2)
  for origin_3 in ([0, 0, 0], [1.5, -2, 1]):
    moment = _moment(charge_XYZ, FINE, origin_3)
    np.testing.assert_allclose(moment, _result(name).dipole, atol=0.03)
  # A vector: it turns with the molecule.
  turn = geometry.random_rotation(jax.random.key(2))
  turned = charge_grid(geometry.rotate(mol, turn), FINE, 2)
  want = turn @ _result(name).dipole
  np.testing.assert_allclose(_moment(turned, FINE), want, atol=0.03)
  assert np.abs(want - _result(name).dipole).max() > 0.5
  # Control: that of the electrons alone, about the centre of mass, is not.
  rho_XYZ = fields.orbital_density_grid(mol, FINE, 2)
  masses_A = origin_weights('mass', np.asarray(mol.numbers_A), np.zeros(1))
  centre_3 = masses_A @ np.asarray(mol.coords_A3) / masses_A.sum()
  moment = _moment(-rho_XYZ, FINE, centre_3)
  assert np.abs(moment - _result(name).dipole).max() > 3


def test_an_ion_has_the_dipole_of_the_origin_of_its_coordinates():
  mol = Molecule.from_arrays(
    *MOLECULES['oxonium'], _result('oxonium').orbitals, center=False
  )
  moment = _moment(charge_grid(mol, FINE, 2), FINE)
  np.testing.assert_allclose(moment, _result('oxonium').dipole, atol=0.03)


def test_an_element_that_gfn2_lacks_is_not_a_number():
  mol = Molecule.from_arrays([92, 1], np.eye(2, 3), np.ones((1, 2, 4)))
  assert np.isnan(fields.charge(mol, jnp.zeros((1, 3)))).all()
  assert np.isnan(fields.charge_grid(mol, Grid(2, 0.5))).all()


# --- potential ---------------------------------------------------------------


def _exact(mol, points_G3):
  """The potential of orbitals and Gaussian nuclei, V, by PySCF's integrals."""
  numbers = np.asarray(mol.numbers_A)
  coords = np.asarray(mol.coords_A3, np.float64)
  c_OK = gfn2_pyscf.coefficients(numbers, mol.orbitals_OL9)
  places = points_G3 / units.BOHR_A
  inverse_GKK = gfn2_pyscf.molecule(numbers, coords).intor(
    'int1e_grids', grids=places
  )
  electrons_G = np.einsum('gij,ij->g', inverse_GKK, c_OK.T @ c_OK)
  r_GA = np.linalg.norm(points_G3[:, None] - coords, axis=-1)
  width = np.sqrt(2) * fields.NUCLEUS_WIDTH
  valence_A = gfn2_occupations.valence_electrons(numbers)
  nuclei_G = (scipy.special.erf(r_GA / width) / r_GA) @ valence_A
  volts = units.HARTREE_EV * units.BOHR_A
  return volts * (nuclei_G - electrons_G / units.BOHR_A)


def _errors(mol, grid, supersample):
  """Errors at some voxels, V, and their distances from the nearest atom."""
  picked = np.random.default_rng(0).choice(grid.size**3, 80, replace=False)
  got = np.asarray(potential_grid(mol, grid, supersample)).ravel()[picked]
  centres_G3 = grids.centres(grid)[picked]
  within = grids.centres(Grid(supersample, grid.spacing / supersample))
  points = (centres_G3[:, None] + within).reshape(-1, 3)
  want = _exact(mol, points).reshape(len(picked), -1).mean(axis=1)
  apart = centres_G3[:, None] - np.asarray(mol.coords_A3)
  return got - want, np.linalg.norm(apart, axis=-1).min(axis=1), want


# Root mean square error, and the largest beyond 2 Å from the atoms, V. What is
# left at 0.5 Å is the charge: its sum over sub-points is off by some hundredths
# of an electron.
@pytest.mark.parametrize(
  ('name', 'size', 'rms', 'outside'),
  [
    ('formamide', 24, 0.2, 0.3),
    ('formamide', 48, 0.005, 0.01),
    ('thiol', 32, 0.05, 0.1),
    ('oxonium', 32, 0.05, 0.1),
  ],
)
def test_the_potential_equals_pyscf(name, size, rms, outside):
  """In a box of 12 Å, with voxels of 0.5, 0.25 and 0.375 Å."""
  error, distance, want = _errors(_mol(name), Grid(size, 12 / size), 2)
  assert np.abs(want).max() > 1
  assert np.sqrt(np.mean(error**2)) < rms
  assert np.abs(error[distance > 2]).max() < outside


def test_far_away_it_is_the_dipoles():
  """Ten times as far as the molecule is wide."""
  mol, grid = _mol('formamide'), Grid(64, 0.375)
  dipole_3 = _result('formamide').dipole / units.AU_DIPOLE_D * units.BOHR_A
  values = np.asarray(potential_grid(mol, grid, 3)).ravel()
  places = grids.centres(grid)
  r = np.linalg.norm(places, axis=1)
  far = r > 15
  want = units.COULOMB_V * places[far] @ dipole_3 / r[far] ** 3
  assert np.abs(want).max() > 0.03
  np.testing.assert_allclose(values[far], want, atol=0.15 * np.abs(want).max())
  # Control: the opposite dipole.
  assert np.abs(values[far] + want).max() > np.abs(want).max()


def test_a_quarter_turn_turns_the_potential():
  mol, grid = _mol('thiol', max_atoms=9, max_orbitals=12), Grid(9, 0.8)
  quarter = jnp.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
  before = potential_grid(mol, grid, 1)
  after = potential_grid(geometry.rotate(mol, quarter), grid, 1)
  turned = jnp.swapaxes(before[:, ::-1], 0, 1)
  atol = 1e-5 * float(jnp.abs(before).max())
  np.testing.assert_allclose(after, turned, rtol=0, atol=atol)
  assert float(jnp.abs(after - before).max()) > 1e3 * atol


def test_without_orbitals_there_is_none():
  mol = Molecule.from_arrays(*MOLECULES['formamide'])
  with pytest.raises(ValueError, match='no orbitals'):
    fields.potential_grid(mol, Grid(2, 1.0))


def test_float32_is_kept(strict_promotion):
  mol = _mol('thiol')
  shape = jax.eval_shape(lambda m: fields.potential_grid(m, FINE, 2), mol)
  assert shape.dtype == jnp.float32
