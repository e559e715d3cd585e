"""HOMO and LUMO against PySCF's basis functions, sum rules and symmetry."""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders import xtb
from edjax import fields, geometry
from edjax.chem import elements, gfn2_basis
from edjax.chem.units import BOHR_A
from edjax.fields import channels
from edjax.grid import Grid
from edjax.molecule import Molecule
from edjax.voxelize import make_voxelizer

os.environ.setdefault('OMP_NUM_THREADS', '1')  # see test_xtb.py

_CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
_ANGLES = np.arange(6) * np.pi / 3
_RING = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES), np.zeros(6)])
MOLECULES = {
  'benzene': ([6] * 6 + [1] * 6, np.vstack([1.395 * _RING, 2.48 * _RING])),
  'methane': (
    [6, 1, 1, 1, 1],
    np.concatenate([np.zeros((1, 3)), 0.63 * _CORNERS]),
  ),
  'nitrogen': ([7, 7], [[0, 0, -0.55], [0, 0, 0.55]]),
  # Sulfur carries d functions.
  'thioformaldehyde': (
    [16, 6, 1, 1],
    [[0.1, 0, 1.0], [0, 0, -0.61], [0, 0.92, -1.16], [0, -0.92, -1.16]],
  ),
}
POINTS = np.random.default_rng(0).uniform(-2, 2, (200, 3))
LEVELS = {'homo': fields.homo, 'lumo': fields.lumo}


def about(axis, angle):
  """Rotation by quaternion, angle in degrees."""
  half = np.deg2rad(angle) / 2
  axis = np.asarray(axis, float) / np.linalg.norm(axis)
  return geometry.quaternion_to_rotation(
    jnp.array([np.cos(half), *(np.sin(half) * axis)], jnp.float32)
  )


@functools.cache
def result(name):
  return xtb.run(*MOLECULES[name])


def molecule(name, **changes):
  numbers, coords = MOLECULES[name]
  r = result(name)
  levels = {'homo': r.homo, 'lumo': r.lumo} | changes
  return Molecule.from_arrays(numbers, coords, **levels)


def at(field, mol, points_G3):
  return np.asarray(jax.jit(field)(mol, jnp.asarray(points_G3, jnp.float32)))


def pyscf_functions(numbers, coords, points_G3):
  """All basis functions at points, [L, 9, G], in bohr^-3/2, by PySCF."""
  gto = pytest.importorskip('pyscf.gto')
  values_L9G = np.zeros((len(numbers), 9, len(points_G3)))
  for i, (z, place) in enumerate(zip(numbers, np.asarray(coords), strict=True)):
    shells = sorted(gfn2_basis.shells(z), key=lambda shell: shell.l)
    basis = []
    for shell in shells:
      a = shell.exponents_P
      norm = (2 * a / np.pi) ** 0.75 * (2 * np.sqrt(a)) ** shell.l
      c = shell.coefficients_P / norm
      basis.append([shell.l, *(list(p) for p in zip(a, c, strict=True))])
    symbol = elements.SYMBOLS[z]
    atom = gto.M(
      atom=[(symbol, place / BOHR_A)], basis={symbol: basis}, unit='Bohr',
      spin=None, verbose=0,
    )  # fmt: skip
    values_GK = atom.eval_gto('GTOval_sph', points_G3 / BOHR_A)
    values_L9G[i, : values_GK.shape[1]] = values_GK.T
  return values_L9G


@pytest.mark.parametrize('name', MOLECULES)
def test_densities_equal_the_squares_of_pyscfs_orbitals(name):
  mol = molecule(name)
  ao_L9G = pyscf_functions(MOLECULES[name][0], mol.coords_A3, POINTS)
  for level, field in LEVELS.items():
    c_OLW = getattr(result(name), level)
    psi_OG = np.einsum('olw,lwg->og', c_OLW, ao_L9G[:, : c_OLW.shape[2]])
    want = np.sum(psi_OG**2, axis=0) / BOHR_A**3
    got = at(field, mol, POINTS)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * want.max())
    assert want.max() > 0.01


@pytest.mark.parametrize('name', ['nitrogen', 'thioformaldehyde'])
def test_each_holds_one_electron(name):
  grid = Grid(24, 0.4)
  f = make_voxelizer(('homo', 'lumo'), grid, supersample=2)
  vox_XYZC = np.asarray(jax.jit(f)(molecule(name)), np.float64)
  electrons_C = vox_XYZC.sum((0, 1, 2)) * grid.voxel_volume
  np.testing.assert_allclose(electrons_C, 1, atol=4e-3)


def test_they_are_the_orbitals_around_the_gap_of_the_golden_densities(
  shared_data,
):
  """Of P S, HOMO is an eigenvector of value 2 and LUMO of value 0."""
  file = np.load(shared_data / 'xtb' / 'golden_gfn2.npz')
  checked = 0
  for i in range(len(file['smiles'])):
    numbers, coords, density_KK, energies_K, occupation_K = (
      file[f'{i:02d}/{key}']
      for key in ('charges', 'coords', 'density_matrix', 'orbital_energies',
                  'orbital_occupations')
    )  # fmt: skip
    if np.any((occupation_K > 1e-6) & (occupation_K < 2 - 1e-6)):
      continue
    r = xtb.run(numbers, coords)
    np.testing.assert_allclose(
      r.orbital_energies, energies_K * 27.211386, atol=1e-5
    )
    overlap_KK = gfn2_basis.overlap(numbers, coords)
    # The slot of each of tblite's functions.
    ones_KL9 = gfn2_basis.to_slots(numbers, np.eye(len(overlap_KK)))
    for level, electrons in (('homo', 2), ('lumo', 0)):
      c_KO = np.einsum('kls,ols->ko', ones_KL9, getattr(r, level))
      norm_OO = c_KO.T @ overlap_KK @ c_KO
      n = len(norm_OO)
      np.testing.assert_allclose(norm_OO, np.eye(n) / n, atol=2e-6)
      np.testing.assert_allclose(
        density_KK @ overlap_KK @ c_KO, electrons * c_KO, atol=2e-5
      )
    checked += 1
  assert checked > 10


# name, level, how many are degenerate, an axis and an angle that leave the
# molecule as it is.
SYMMETRIC = [
  ('benzene', 'homo', 2, (0, 0, 1), 60),
  ('benzene', 'lumo', 2, (0, 0, 1), 60),
  ('methane', 'homo', 3, (1, 1, 1), 120),
  ('nitrogen', 'lumo', 2, (0, 0, 1), 37),
]


@pytest.mark.parametrize(('name', 'level', 'count', 'axis', 'angle'), SYMMETRIC)
def test_degenerate_orbitals_have_the_symmetry_of_the_molecule(
  name, level, count, axis, angle
):
  rotation = about(axis, angle)
  points = POINTS[:100]
  turned = points @ np.asarray(rotation).T
  mol = molecule(name)
  levels_OL9 = getattr(mol, f'{level}_OL9')
  assert len(levels_OL9) == count
  field = LEVELS[level]
  here, there = (at(field, mol, p) for p in (points, turned))
  np.testing.assert_allclose(there, here, rtol=0, atol=1e-3 * here.max())
  # Controls: one of them alone, and a turn that is none of the molecule's.
  one = dataclasses.replace(mol, **{f'{level}_OL9': levels_OL9[:1]})
  here_one, there_one = (at(field, one, p) for p in (points, turned))
  assert np.abs(there_one - here_one).max() > 0.05 * here.max()
  other = points @ np.asarray(about((1, 0, 0.2), 40)).T
  assert np.abs(at(field, mol, other) - here).max() > 0.05 * here.max()


@pytest.mark.parametrize('name', MOLECULES)
def test_xtb_of_the_turned_molecule_gives_the_turned_densities(name):
  numbers, coords = MOLECULES[name]
  rotation = geometry.random_rotation(jax.random.key(3))
  r = xtb.run(numbers, np.asarray(coords) @ np.asarray(rotation, float).T)
  mol = geometry.rotate(molecule(name), rotation)
  again = molecule(name, homo=r.homo, lumo=r.lumo)
  again = dataclasses.replace(again, coords_A3=mol.coords_A3)
  for field in LEVELS.values():
    want, got = (at(field, m, POINTS) for m in (mol, again))
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-3 * want.max())
    unturned = at(field, molecule(name), POINTS)
    assert np.abs(got - unturned).max() > 0.05 * want.max()


def test_a_level_that_the_gap_cuts_is_on_both_sides_of_it():
  """Boron has one electron in three p functions: HOMO and LUMO are round."""
  r = xtb.run([5], [[0, 0, 0]], unpaired=1)
  assert r.gap < xtb.DEGENERATE
  mol = Molecule.from_arrays([5], [[0, 0, 0]], homo=r.homo, lumo=r.lumo)
  points = POINTS / np.linalg.norm(POINTS, axis=1)[:, None]
  for field in LEVELS.values():
    values = at(field, mol, points)
    np.testing.assert_allclose(values, values.mean(), rtol=1e-3)
  np.testing.assert_array_equal(r.homo, r.lumo)


def test_without_an_unoccupied_orbital_the_lumo_is_empty():
  r = xtb.run([1], [[0, 0, 0]], total_charge=-1)
  assert r.lumo.shape == (0, 1, 4)
  mol = Molecule.from_arrays([1], [[0, 0, 0]], homo=r.homo, lumo=r.lumo)
  assert not at(fields.lumo, mol, POINTS).any()
  assert at(fields.homo, mol, POINTS).max() > 0.01


def test_padding_is_inert():
  numbers, coords = MOLECULES['methane']
  r = result('methane')
  padded = Molecule.from_arrays(
    numbers, coords, homo=r.homo, lumo=r.lumo, max_atoms=8, max_frontier=5
  )
  assert padded.homo_OL9.shape == padded.lumo_OL9.shape == (5, 8, 4)
  for grid_field in (fields.homo_grid, fields.lumo_grid):
    on_grid = jax.jit(grid_field, static_argnums=1)
    want, got = (
      np.asarray(on_grid(mol, Grid(6, 0.9)))
      for mol in (molecule('methane'), padded)
    )
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * want.max())


def test_as_channels_they_have_names_units_and_a_cost():
  f = make_voxelizer(('homo', 'lumo'), Grid(8, 0.9))
  assert f.channel_names == ('homo', 'lumo')
  assert f.units == ('e/Å^3', 'e/Å^3')
  assert f.scratch_bytes(molecule('methane')) > 0


def test_what_is_missing_is_named():
  mol = Molecule.from_arrays(*MOLECULES['methane'])
  for level, field in LEVELS.items():
    with pytest.raises(ValueError, match=rf'no {level}_OL9.*{level}=result'):
      field(mol, jnp.zeros((1, 3)))
    assert channels.CHANNELS[level].needs == channels.FRONTIER
