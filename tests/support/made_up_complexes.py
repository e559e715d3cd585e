"""Complexes in PDBbind's layout that tests write: nobody's data."""

import numpy as np

INDEX = 'INDEX_general_PL_data.2020'
# Families of chains: different random sequences.
_LETTERS = 'ACDEFGHIKLMNPQRSTVWY'
_NAMES = {
  'A': 'ALA', 'C': 'CYS', 'D': 'ASP', 'E': 'GLU', 'F': 'PHE', 'G': 'GLY',
  'H': 'HIS', 'I': 'ILE', 'K': 'LYS', 'L': 'LEU', 'M': 'MET', 'N': 'ASN',
  'P': 'PRO', 'Q': 'GLN', 'R': 'ARG', 'S': 'SER', 'T': 'THR', 'V': 'VAL',
  'W': 'TRP', 'Y': 'TYR',
}  # fmt: skip
# The atoms' columns of an mmCIF file; rows follow.
MMCIF_HEADER = """data_1ABC
loop_
_atom_site.group_PDB
_atom_site.id
_atom_site.type_symbol
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.B_iso_or_equiv
_atom_site.auth_seq_id
_atom_site.auth_asym_id
"""
# Alcohols and the like, all of an even number of electrons.
SMILES = ('CCO', 'CCCO', 'CC(=O)O', 'c1ccccc1O', 'CCN', 'CC(C)O', 'CCS', 'CCCl')


def sequence(family: int, length: int = 45) -> str:
  rng = np.random.default_rng(100 + family)
  return ''.join(rng.choice(list(_LETTERS), length))


def protein(family: int, seed: int = 0, zinc: bool = True) -> str:
  """PDB text: N, CA, C, O of residues 4.5 to 12 Å from (5, 5, 5)."""
  rng = np.random.default_rng(seed)
  lines, serial = [], 1

  def add(record, name, residue, number, element, xyz):
    nonlocal serial
    x, y, z = xyz
    lines.append(
      f'{record:<6}{serial:>5} {name:<4} {residue:>3} A{number:>4}    '
      f'{x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00          {element:>2}'
    )
    serial += 1

  for number, letter in enumerate(sequence(family), start=1):
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    place = 5 + direction * rng.uniform(4.5, 12)
    for name, element in ((' N', 'N'), (' CA', 'C'), (' C', 'C'), (' O', 'O')):
      xyz = place + rng.normal(size=3) * 0.2
      add('ATOM', name, _NAMES[letter], number, element, xyz)
  lines.append('TER')
  if zinc:
    add('HETATM', 'ZN', 'ZN', 900, 'ZN', (5.0, 5.0, 8.8))
  add('HETATM', ' O', 'HOH', 901, 'O', (9.0, 5.0, 5.0))
  return '\n'.join([*lines, 'END', ''])


def ligand(smiles: str, centre: float = 5.0) -> str:
  """SDF text about (5, 5, 5), or another centre, with hydrogens."""
  from rdkit import Chem
  from rdkit.Chem import AllChem

  mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
  AllChem.EmbedMolecule(mol, randomSeed=1)
  conformer = mol.GetConformer()
  xyz = conformer.GetPositions()
  for i, position in enumerate(xyz - xyz.mean(0) + centre):
    conformer.SetAtomPosition(i, position)
  return Chem.MolToMolBlock(mol) + '$$$$\n'


def index_line(pdb_id: str, pk: float, relation: str = '=', year=2010) -> str:
  molar = 10 ** (9 - pk)
  return (
    f'{pdb_id}  2.00  {year}  {pk:5.2f}  Kd{relation}{molar:.6g}nM   '
    f'// {pdb_id}.pdf (LIG)'
  )


def write_complex(root, pdb_id: str, family: int, smiles: str, seed=0) -> None:
  folder = root / pdb_id
  folder.mkdir(parents=True)
  (folder / f'{pdb_id}_protein.pdb').write_text(protein(family, seed))
  (folder / f'{pdb_id}_ligand.sdf').write_text(ligand(smiles))


def write_set(root, count: int = 10, families: int = 5) -> list[str]:
  """A manual directory with complexes 1aa0, 1aa1, ... and their index."""
  ids = [f'1aa{i:x}' for i in range(count)]
  lines = ['# made up']
  for i, pdb_id in enumerate(ids):
    smiles = SMILES[i % len(SMILES)]
    write_complex(root, pdb_id, i % families, smiles, seed=i)
    lines.append(
      index_line(pdb_id, 4 + 0.35 * i + 0.2 * (i % 3), year=2000 + i)
    )
  (root / INDEX).write_text('\n'.join(lines) + '\n')
  return ids
