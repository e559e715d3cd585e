"""One molecule: conformer and B3LYP/6-31G(2df,p) labels.

This file works in bohr and Hartree. rdkit and pyscf (the extra
`reference`) are imported where they are used.
"""

import numpy as np

from edjax.chem import units

# PySCF's set of this name: two d with the exponents of 6-311G(2d) (C 1.252 and
# 0.313), where Gaussian's, and with it QM9's, are 1.6 and 0.4.
BASIS = '6-31g(2df,p)'

# Energies of the free atoms (Ha), UKS at the level of `label`, but grid level
# 4, as `generate.py --atoms` prints them with PySCF 2.14.0. Ground-state spins
# 2S.
ATOM_SPIN = {1: 1, 6: 2, 7: 3, 8: 2, 9: 1}
ATOM_ENERGY_HA = {
  1: -0.500274,
  6: -37.844965,
  7: -54.582880,
  8: -75.060592,
  9: -99.715985,
}


def embed(smiles):
  """Embeds a SMILES: numbers [A], coordinates [A, 3] (bohr), bonds {(i, j)}.

  The conformer is that of ETKDG (seed 7), then MMFF94; hydrogens are added. A
  stereocentre that the SMILES leaves open follows from the seed.

  Raises:
    RuntimeError: ETKDG found no conformer.
  """
  from rdkit import Chem
  from rdkit.Chem import AllChem

  mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
  if AllChem.EmbedMolecule(mol, randomSeed=7) != 0:
    raise RuntimeError('ETKDG found no conformer')
  # MMFF lacks parameters for a few odd molecules; xTB then starts from ETKDG.
  if AllChem.MMFFHasAllMoleculeParams(mol):
    AllChem.MMFFOptimizeMolecule(mol, maxIters=1000)
  numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
  coords_A3 = mol.GetConformer().GetPositions() / units.BOHR_A
  return numbers, coords_A3, bonds_of(mol)


def bonds_of(mol) -> set[tuple[int, int]]:
  """Returns the bonds {(i, j)}, i < j, of RDKit's molecule."""
  return {
    tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())))
    for b in mol.GetBonds()
  }


def _molecule(numbers, coords_A3, basis=BASIS, spin=0):
  from pyscf import gto

  return gto.M(
    atom=[(int(z), tuple(x)) for z, x in zip(numbers, coords_A3, strict=True)],
    unit='Bohr',
    basis=basis,
    cart=False,
    spin=spin,
    verbose=0,
  )


def atoms_energy(numbers):
  """Sums ATOM_ENERGY_HA over atomic numbers."""
  return sum(ATOM_ENERGY_HA[int(z)] for z in numbers)


def label(numbers, coords_A3, basis=BASIS):
  """Computes labels of one closed-shell molecule: RKS B3LYP/6-31G(2df,p).

  PySCF (2.3 and later) takes `b3lyp` as Gaussian does, with VWN(RPA). Density
  fitting, grid level 2, convergence 1e-8 Ha, spherical d and f.

  Args:
    numbers: atomic numbers, [A].
    coords_A3: bohr, [A, 3].
    basis: in any form that PySCF accepts.

  Returns:
    dict of floats: mu (D), homo, lumo, gap, energy, atomization_energy (Ha),
    r2 (bohr^2, electronic, about the centre of mass).

  Raises:
    RuntimeError: the SCF did not converge.
  """
  from pyscf import dft

  mol = _molecule(numbers, coords_A3, basis)
  scf = dft.RKS(mol, xc='b3lyp').density_fit()
  scf.grids.level = 2
  scf.conv_tol = 1e-8
  energy = float(scf.kernel())
  if not scf.converged:
    raise RuntimeError('the SCF did not converge')
  orbitals = scf.mo_energy
  occupied = int(sum(numbers)) // 2
  homo, lumo = orbitals[occupied - 1], orbitals[occupied]
  density = scf.make_rdm1()
  masses = mol.atom_mass_list(isotope_avg=True)
  centre = masses @ mol.atom_coords() / masses.sum()
  with mol.with_common_origin(centre):
    r2 = float(np.sum(mol.intor('int1e_r2') * density))
  return {
    'mu': float(np.linalg.norm(scf.dip_moment(unit='Debye', verbose=0))),
    'homo': float(homo),
    'lumo': float(lumo),
    'gap': float(lumo - homo),
    'r2': r2,
    'energy': energy,
    'atomization_energy': energy - atoms_energy(numbers),
  }


def atom_energy(number):
  """Computes the energy (Ha) of a free atom: as `label`, UKS, grid level 4."""
  from pyscf import dft

  mol = _molecule([number], np.zeros((1, 3)), spin=ATOM_SPIN[number])
  scf = dft.UKS(mol, xc='b3lyp').density_fit()
  scf.grids.level = 4
  scf.conv_tol = 1e-8
  energy = scf.kernel()
  if not scf.converged:
    raise RuntimeError(f'the SCF of atom {number} did not converge')
  return float(energy)
