"""Ligand files, made up."""

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


def files(folder, sdf_text=None, mol2_text=None):
  paths = {}
  for kind, text in (('sdf', sdf_text), ('mol2', mol2_text)):
    if text is not None:
      paths[f'ligand_{kind}'] = folder / f'1abc_ligand.{kind}'
      paths[f'ligand_{kind}'].write_text(text)
  return types.Files('1abc', **paths)
