"""Atoms, residues and files of proteins that tests write."""

import numpy as np

from data_builders.pdbbind.readers import ligand, pocket, types

ALANINE = (
  ('N', 'N', (0.0, 0.0, 0.0)),
  ('CA', 'C', (1.46, 0.0, 0.0)),
  ('C', 'C', (2.0, 1.42, 0.0)),
  ('O', 'O', (1.25, 2.39, 0.0)),
  ('CB', 'C', (1.99, -0.77, -1.2)),
)


def line(name, residue, xyz, element=None, chain='A', number=1, label=' ',
         occ=1.0, b=20.0, hetero=False, serial=1):  # fmt: skip
  element = name[0] if element is None else element
  padded = name if len(name) == 4 or len(element) == 2 else f' {name}'
  record = 'HETATM' if hetero else 'ATOM'
  place = ''.join(f'{x:8.3f}' for x in xyz)
  return (
    f'{record:6}{serial:5} {padded:4}{label}{residue:>3} {chain}{number:4}    '
    f'{place}{occ:6.2f}{b:6.2f}          {element:>2}'
  )


def residue(name='ALA', at=(0, 0, 0), atoms=ALANINE, **kwargs):
  return [
    line(atom, name, np.add(xyz, at), element, **kwargs)
    for atom, element, xyz in atoms
  ]


def atoms_at(*coords, numbers=None):
  n_atoms = len(coords)
  return types.Atoms(
    np.array(numbers or [6] * n_atoms, np.int32),
    np.array(coords, float),
    np.zeros(n_atoms),
    np.ones(n_atoms),
  )


LIGAND = atoms_at((0, 0, 4), (1.5, 0, 4))


def read(folder, lines, ligand_atoms=LIGAND, radius=20.0, name=None, **kwargs):
  path = folder / (name or '1abc_protein.pdb')
  path.write_text('\n'.join([*lines, 'END', '']))
  files = types.Files('1abc', protein=path)
  centre = ligand.centre(ligand_atoms)
  return pocket.read_pocket(files, centre, radius, ligand_atoms, **kwargs)
