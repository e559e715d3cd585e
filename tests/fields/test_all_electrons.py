"""All electrons: their number, the cores' closed form, and PySCF."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pyscf import df, gto, scf

from data_builders import xtb
from edjax import fields
from edjax import grid as grids
from edjax.chem import units
from edjax.grid import Grid
from edjax.kernels import gaussian_blur
from edjax.molecule import Molecule

NUMBERS = [6, 8, 7, 1, 1, 1]  # formamide, Å
COORDS = np.array(
  [[0.16, 0.39, 0.0], [1.20, -0.25, 0.0], [-1.08, -0.16, 0.0],
   [0.13, 1.49, 0.0], [-1.92, 0.40, 0.1], [-1.16, -1.17, 0.0]]
)  # fmt: skip

all_electrons = jax.jit(
  fields.all_electron_density_grid,
  static_argnums=(1, 2),
  static_argnames=('b_iso',),
)


@pytest.fixture(scope='module')
def mol():
  orbitals = xtb.run(NUMBERS, COORDS).orbitals
  return Molecule.from_arrays(NUMBERS, COORDS, orbitals, center=False)


@pytest.mark.parametrize('b_iso', [0.0, 6.0, 20.0])
def test_every_electron_is_there(mol, b_iso):
  rho_XYZ = all_electrons(mol, Grid(48, 0.25), 2, b_iso=b_iso)
  electrons = float(rho_XYZ.sum()) * 0.25**3
  assert electrons == pytest.approx(sum(NUMBERS), rel=5e-4)  # 24, 18 valence


def test_cores_are_gaussians_of_two_electrons(mol):
  points_G3 = jnp.asarray([COORDS[0], [0.1, 0.2, -0.3]], jnp.float32)
  b_iso = 8.0
  found_G = fields.all_electron_density(
    mol, points_G3, b_iso=b_iso
  ) - fields.orbital_density(mol, points_G3)
  variance = b_iso / (8 * np.pi**2)
  square_GA = ((np.asarray(points_G3)[:, None] - COORDS[:3]) ** 2).sum(-1)
  each_GA = np.exp(-square_GA / (2 * variance)) / (2 * np.pi * variance) ** 1.5
  np.testing.assert_allclose(found_G, 2 * each_GA.sum(1), rtol=1e-4)
  with pytest.raises(ValueError, match='b_iso'):
    fields.all_electron_density(mol, points_G3, b_iso=0.0)


def test_a_blurred_map_is_that_of_hartree_fock(mol):
  """At a resolution where cores are points; PySCF blurs analytically."""
  smooth, grid = 0.5, Grid(40, 0.25)
  peer = gto.M(
    atom=[*zip(NUMBERS, COORDS, strict=True)], basis='6-31g', verbose=0
  )
  density_KK = scf.RHF(peer).run().make_rdm1()
  places = np.random.default_rng(0).permutation(grid.size**3)[:500]
  points_G3 = grids.centres(grid)[places] / units.BOHR_A
  exponent = 1 / (2 * (smooth / units.BOHR_A) ** 2)
  probes = gto.fakemol_for_charges(points_G3, exponent)
  overlap_KKG = df.incore.aux_e2(peer, probes, intor='int3c1e')
  wanted_G = np.einsum('klg,kl->g', overlap_KKG, density_KK) / units.BOHR_A**3

  def error(f):
    f = jax.jit(gaussian_blur.blurred(f, smooth), static_argnums=(1, 2))
    found_G = np.asarray(f(mol, grid, 1)).ravel()[places]
    return np.linalg.norm(found_G - wanted_G) / np.linalg.norm(wanted_G)

  def points_as_cores(*args):
    return fields.all_electron_density_grid(*args, b_iso=4.0)

  assert error(points_as_cores) < 0.05
  # Negative control: without the cores.
  assert error(fields.orbital_density_grid) > 0.2
