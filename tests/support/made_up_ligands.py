"""Ligand files, made up."""

import numpy as np

from data_builders.pdbbind.readers import types

# (symbol, mol2 type, coordinates) and bonds of methanol, Å.
METHANOL = (
  [
    ('C', 'C.3', (0.70, 0.02, 0.00)),
    ('H', 'H', (1.09, -1.00, 0.00)),
    ('O', 'O.3', (-0.73, 0.03, 0.00)),
    ('H', 'H', (1.06, 0.53, 0.89)),
    ('H', 'H', (1.06, 0.53, -0.89)),
    ('H', 'H', (-1.05, -0.88, 0.00)),
  ],
  [(1, 2, 1), (1, 3, 1), (1, 4, 1), (1, 5, 1), (3, 6, 1)],
)


def sdf(atoms, bonds, valences=None, name='made up'):
  """A V2000 record; valences: atom (from 1) -> valence as the file states."""
  lines = [name, '', '', f'{len(atoms):3}{len(bonds):3}  0  0  0999 V2000']
  for i, (symbol, _, xyz) in enumerate(atoms, 1):
    place = ''.join(f'{x:10.4f}' for x in xyz)
    valence = (valences or {}).get(i, 0)
    lines.append(f'{place} {symbol:3} 0  0  0  0  0{valence:3}')
  lines += [f'{i:3}{j:3}{order:3}  0' for i, j, order in bonds]
  return '\n'.join([*lines, 'M  END', '$$$$', ''])


def mol2(atoms, bonds):
  """A record; the atoms' names are their symbols with their numbers."""
  lines = ['@<TRIPOS>MOLECULE', 'x', f'{len(atoms)} {len(bonds)} 1', 'SMALL']
  lines += ['NO_CHARGES', '', '@<TRIPOS>ATOM']
  for i, (symbol, kind, (x, y, z)) in enumerate(atoms, 1):
    lines.append(f'{i} {symbol}{i} {x:.4f} {y:.4f} {z:.4f} {kind} 1 LIG 0.0')
  lines.append('@<TRIPOS>BOND')
  lines += [f'{n} {i} {j} {order}' for n, (i, j, order) in enumerate(bonds, 1)]
  return '\n'.join([*lines, ''])


def embedded(smiles, hydrogens=True):
  """RDKit's molecule with coordinates."""
  from rdkit import Chem
  from rdkit.Chem import rdDistGeom

  full = Chem.AddHs(Chem.MolFromSmiles(smiles))
  assert rdDistGeom.EmbedMolecule(full, randomSeed=7) == 0
  return full if hydrogens else Chem.RemoveHs(full)


def tables(molecule):
  """(atoms, bonds) as `sdf` and `mol2` take them; aromatic bonds are 4."""
  atoms = [
    (atom.GetSymbol(), atom.GetSymbol(), xyz)
    for atom, xyz in zip(
      molecule.GetAtoms(), molecule.GetConformer().GetPositions(), strict=True
    )
  ]
  bonds = [
    (bond.GetBeginAtomIdx() + 1, bond.GetEndAtomIdx() + 1,
     4 if bond.GetIsAromatic() else int(bond.GetBondTypeAsDouble()))
    for bond in molecule.GetBonds()
  ]  # fmt: skip
  return atoms, bonds


def with_counts(text, molecule, hydrogens=True):
  """Fills fields of a V2000 record of `sdf` as PDBbind's own files have them.

  Of atoms the number of hydrogens and one, and the number of neighbours with
  them; of bonds whether they lie in a ring (1) or not (2).

  Args:
    text: the record, without valences.
    molecule: RDKit's.
    hydrogens: whether the numbers of hydrogens are written.
  """
  lines = text.splitlines()
  n_atoms = molecule.GetNumAtoms()
  for i, atom in enumerate(molecule.GetAtoms(), 4):
    count = atom.GetTotalNumHs(includeNeighbors=True) + 1 if hydrogens else 0
    lines[i] = f'{lines[i][:42]}{count:3}  0{atom.GetTotalDegree():3}'
  for i, bond in enumerate(molecule.GetBonds(), 4 + n_atoms):
    lines[i] += f'  0{1 if bond.IsInRing() else 2:3}'
  return '\n'.join([*lines, ''])


def moved(atoms, shift):
  return [(symbol, kind, np.add(xyz, shift)) for symbol, kind, xyz in atoms]


def files(folder, sdf_text=None, mol2_text=None):
  paths = {}
  for kind, text in (('sdf', sdf_text), ('mol2', mol2_text)):
    if text is not None:
      paths[f'ligand_{kind}'] = folder / f'1abc_ligand.{kind}'
      paths[f'ligand_{kind}'].write_text(text)
  return types.Files('1abc', **paths)
