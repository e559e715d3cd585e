"""tau and elf against closed forms, PySCF and symmetry."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import gfn2_pyscf, sto_3g

from data_builders import xtb
from edjax import fields, geometry
from edjax import grid as grids
from edjax.chem.units import BOHR_A
from edjax.grid import Grid
from edjax.kernels import gto_dense, gto_tiled_cpu
from edjax.molecule import Molecule

MOLECULES = {
  'formamide': (
    [6, 8, 7, 1, 1, 1],
    [[0.16, 0.39, 0.0], [1.20, -0.25, 0.0], [-1.08, -0.16, 0.0],
     [0.13, 1.49, 0.0], [-1.92, 0.40, 0.1], [-1.16, -1.17, 0.0]],
  ),
  # Sulfur carries d functions.
  'sulfur dioxide': (
    [8, 16, 8], [[1.24, 0.7, 0.1], [0, 0, 0], [-1.2, 0.7, -0.1]],
  ),
}  # fmt: skip


@functools.cache
def _orbitals(name):
  return xtb.run(*MOLECULES[name]).orbitals


def _mol(name, dtype=np.float32, **padding) -> Molecule:
  numbers, coords = MOLECULES[name]
  mol = Molecule.from_arrays(numbers, coords, _orbitals(name), **padding)
  return dataclasses.replace(
    mol,
    coords_A3=jnp.asarray(mol.coords_A3, dtype),
    orbitals_OL9=jnp.asarray(mol.orbitals_OL9, dtype),
  )


def _longhand(mol, points_G3):
  """tau in Hartree/Å^3 and elf, spin by spin, from PySCF's functions."""
  numbers = np.asarray(mol.numbers_A)
  coords = np.asarray(mol.coords_A3, np.float64)
  functions = gfn2_pyscf.molecule(numbers, coords).eval_gto(
    'GTOval_sph_deriv1', points_G3 / BOHR_A
  )
  # Orbitals of one spin: half of the electrons.
  c_OK = gfn2_pyscf.coefficients(numbers, mol.orbitals_OL9) / np.sqrt(2)
  psi, *slopes = np.einsum('ok,xgk->xog', c_OK, functions)
  rho = np.sum(psi**2, axis=0)
  kinetic = sum(np.sum(s**2, axis=0) for s in slopes)  # Becke and Edgecombe's
  gradient2 = sum((2 * np.sum(psi * s, axis=0)) ** 2 for s in slopes)
  excess = kinetic - gradient2 / (4 * rho) + 1e-5
  uniform = 3 / 5 * (6 * np.pi**2) ** (2 / 3) * rho ** (5 / 3)
  tau = 2 * kinetic / 2 / BOHR_A**3
  return tau, 1 / (1 + (excess / uniform) ** 2)


@pytest.mark.parametrize('name', MOLECULES)
def test_values_equal_pyscfs_functions(name, x64):
  mol = _mol(name, np.float64)
  points = np.random.default_rng(0).normal(scale=1.5, size=(300, 3))
  tau, elf = _longhand(mol, points)
  assert tau.max() > 1
  assert ((elf > 0.8).sum() > 20) & ((elf < 0.2).sum() > 20)
  # The table of the basis has ten digits, the orbitals seven.
  np.testing.assert_allclose(fields.tau(mol, points), tau, rtol=1e-6)
  np.testing.assert_allclose(fields.elf(mol, points), elf, atol=1e-6)
  # Control: with y and z of the p functions exchanged neither fits.
  order = [0, 1, 3, 2, *range(4, mol.orbitals_OL9.shape[2])]
  wrong = dataclasses.replace(mol, orbitals_OL9=mol.orbitals_OL9[..., order])
  assert np.abs(fields.tau(wrong, points) / tau - 1).max() > 0.1
  assert np.abs(fields.elf(wrong, points) - elf).max() > 0.1


@pytest.mark.parametrize('name', MOLECULES)
def test_the_integral_of_tau_is_the_kinetic_energy(name):
  numbers, coords = MOLECULES[name]
  c_OK = gfn2_pyscf.coefficients(numbers, _orbitals(name))
  kinetic_KK = gfn2_pyscf.molecule(numbers, coords).intor('int1e_kin')
  want = np.einsum('oi,ij,oj', c_OK, kinetic_KK, c_OK)
  grid = Grid(56, 0.2)
  tau_XYZ = jax.jit(fields.tau_grid, static_argnums=(1, 2))(_mol(name), grid, 2)
  got = float(tau_XYZ.sum()) * grid.voxel_volume
  assert got == pytest.approx(want, rel=1e-3)
  assert float(tau_XYZ.min()) >= 0


def test_one_orbital_has_no_excess(x64):
  """tau is |grad rho|^2/(8 rho) for one orbital, whatever it is: elf is 1.

  Two orbitals are the control.
  """
  rng = np.random.default_rng(1)
  numbers, coords = [6, 7], [[0.0, 0, 0], [0.2, 1.1, -0.3]]
  points = jnp.asarray(rng.normal(size=(60, 3)))
  for count in (1, 2):
    mol = Molecule.from_arrays(numbers, coords, rng.normal(size=(count, 2, 4)))
    mol = jax.tree.map(
      lambda x: x.astype(float) if x.dtype == np.float32 else x, mol
    )
    rho = fields.orbital_density(mol, points)
    slope = fields.gradient_magnitude(fields.orbital_density)(mol, points)
    # Per Å; in Hartree a gradient is per bohr.
    bosons = slope**2 / (8 * rho) * BOHR_A**2
    tau = fields.tau(mol, points)
    elf = fields.elf(mol, points)
    dense = np.asarray(rho) > 0.1
    if count == 1:
      np.testing.assert_allclose(tau, bosons, rtol=1e-9)
      assert float(elf[dense].min()) > 0.999
    else:
      assert float((tau / bosons)[dense].max()) > 2
      assert float(elf[dense].min()) < 0.5


def test_tau_of_a_1s_orbital_is_the_closed_form():
  """Hydrogen's shell, the published STO-3G scaled to 1.23."""
  mol = Molecule.from_arrays([1], np.zeros((1, 3)), np.eye(1, 4)[None])
  r_A = np.linspace(0.0, 2.5, 40)
  tau = fields.tau(mol, jnp.asarray(np.outer(r_A, [0.6, 0, 0.8])))
  r = r_A / BOHR_A
  weights = sto_3g.COEFFICIENTS * sto_3g.EXPONENTS
  slope = -2 * r * (sto_3g.gaussians(r) @ weights)
  np.testing.assert_allclose(tau, slope**2 / 2 / BOHR_A**3, rtol=1e-4)


def test_elf_vanishes_where_the_density_does():
  mol = _mol('formamide', max_atoms=8, max_orbitals=12)
  points = jnp.array([[0.3, 0.2, 0.1], [5.0, 0, 0], [12.0, 0, 0], [80.0, 0, 0]])

  def at(coords_A3):
    return fields.elf(dataclasses.replace(mol, coords_A3=coords_A3), points)

  with jax.debug_nans(True), jax.debug_infs(True):
    values = jax.jit(at)(mol.coords_A3)
    slopes = jax.jit(jax.jacrev(at))(mol.coords_A3)
  assert 0 < values[0] < 1
  np.testing.assert_allclose(values[1:], 0, atol=1e-3)
  assert np.isfinite(slopes).all()
  assert float(jnp.abs(slopes[0]).max()) > 1e-2
  # Nothing is hidden either.
  lacking = Molecule.from_arrays([92, 1], np.eye(2, 3), np.ones((1, 2, 4)))
  assert np.isnan(fields.elf(lacking, points)).all()
  empty = dataclasses.replace(mol, orbitals_OL9=0 * mol.orbitals_OL9)
  np.testing.assert_array_equal(fields.elf_grid(empty, Grid(3, 1.0)), 0)


@pytest.mark.parametrize('name', MOLECULES)
def test_elf_on_a_grid_is_that_on_points(name):
  """At voxel centres, and as means over sub-points; padding is inert."""
  mol, grid = _mol(name), Grid(10, 0.8)
  padded = _mol(name, max_atoms=12, max_orbitals=15)
  on_points = jax.jit(fields.elf)
  on_grid = jax.jit(fields.elf_grid, static_argnums=(1, 2))
  for supersample, molecule in ((1, mol), (2, padded)):
    fine = grid.refine(supersample)
    values = on_points(mol, jnp.asarray(grids.centres(fine), jnp.float32))
    want = grids.pool(values.reshape((fine.size,) * 3), supersample)
    got = on_grid(molecule, grid, supersample)
    # float32, of a difference of two large numbers.
    np.testing.assert_allclose(got, want, atol=1e-3)
    assert float(got.min()) >= 0
    assert float(got.max()) <= 1
  assert float(want.max() - want.min()) > 0.5


@pytest.mark.parametrize('field', [fields.tau, fields.elf])
def test_they_turn_with_the_molecule(field, x64):
  mol = _mol('sulfur dioxide', np.float64)
  points = jax.random.normal(jax.random.key(1), (100, 3))
  want = field(mol, points)
  turn = geometry.random_rotation(jax.random.key(0))
  turned = geometry.rotate(mol, turn)
  there = points @ turn.T
  peak = float(want.max())
  np.testing.assert_allclose(field(turned, there), want, atol=1e-9 * peak)
  # Control: orbitals that do not turn.
  wrong = dataclasses.replace(turned, orbitals_OL9=mol.orbitals_OL9)
  assert float(jnp.abs(field(wrong, there) - want).max()) > 0.02 * peak


@pytest.mark.parametrize('kernel', [gto_dense, gto_tiled_cpu])
def test_both_kernels_and_their_derivatives(kernel, x64):
  """Accelerators' form and the CPUs', and backwards."""
  mol, grid = _mol('formamide', np.float64, max_atoms=8), Grid(4, 0.7)
  weights = jax.random.normal(jax.random.key(5), (4, 4, 4))

  def on_grid(coords_A3):
    return kernel.orbital_means(
      grid,
      1,
      lambda of: of.squares_G * of.density_G + sum(of.slopes),
      mol.numbers_A,
      coords_A3,
      mol.orbitals_OL9,
    )

  def on_points(coords_A3):
    moved = dataclasses.replace(mol, coords_A3=coords_A3)
    points = jnp.asarray(grids.centres(grid))
    rho = fields.orbital_density(moved, points) * BOHR_A**3
    squares = fields.tau(moved, points) * 2 * BOHR_A
    _, slope = jax.jvp(
      lambda t: fields.orbital_density(
        geometry.translate(moved, jnp.stack([t, t, t])), points
      ),
      (0.0,),
      (1.0,),
    )
    values = squares * rho + slope * BOHR_A**3 / 2
    return values.reshape((4,) * 3)

  place = mol.coords_A3
  for f in (
    lambda g: g(place),
    lambda g: jax.grad(lambda c: jnp.sum(weights * g(c)))(place),
  ):
    want = jax.jit(lambda f=f: f(on_points))()
    got = jax.jit(lambda f=f: f(on_grid))()
    peak = float(jnp.abs(want).max())
    assert peak > 1e-2
    np.testing.assert_allclose(got, want, atol=1e-11 * peak)


def test_float32_is_kept(strict_promotion):
  mol = _mol('formamide')
  for field, where in (
    (fields.elf, jnp.zeros((2, 3))),
    (fields.elf_grid, Grid(4, 0.5)),
  ):
    shape = jax.eval_shape(lambda m, f=field, w=where: f(m, w), mol)
    assert shape.dtype == jnp.float32
