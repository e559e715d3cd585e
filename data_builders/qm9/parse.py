"""One record of QM9's raw archive.

Layout: number of atoms; `gdb`, the index and 15 properties (A, B, C in GHz,
mu in D, alpha in a0^3, homo, lumo, gap in Ha, r2 in a0^2, zpve, U0, U, H, G
in Ha, Cv in cal/(mol K)); one line an atom (symbol, position in Å, Mulliken
charge); frequencies; SMILES of GDB-17 and of the relaxed geometry; InChI of
both. R. Ramakrishnan, P. O. Dral, M. Rupp, O. A. von Lilienfeld, Sci. Data
2014, 1, 140022, table 2 and 3.
"""

import math

import numpy as np

from data_builders.molecules.types import Record
from edjax.chem import elements
from edjax.chem.units import HARTREE_EV
from edjax.data.molecule_splits import N_MOLECULES, N_UNCHARACTERIZED

_PROPERTIES = (
  'A', 'B', 'C', 'mu', 'alpha', 'homo', 'lumo', 'gap', 'r2', 'zpve', 'u0',
  'u', 'h', 'g', 'cv',
)  # fmt: skip
_LEFT_OUT = ('A', 'B', 'C')
# Energies of the free atoms, Ha, at the level of theory of the molecules:
# atomref.txt of the authors (https://figshare.com/ndownloader/files/3195395).
# U, H and G are at 298.15 K.
ATOM_ENERGIES = {
  'u0': {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579,
         9: -99.718730},
  'u': {1: -0.498857, 6: -37.845355, 7: -54.582445, 8: -75.063163,
        9: -99.717314},
  'h': {1: -0.497912, 6: -37.844411, 7: -54.581501, 8: -75.062219,
        9: -99.716370},
  'g': {1: -0.510927, 6: -37.861317, 7: -54.598897, 8: -75.079532,
        9: -99.733544},
}  # fmt: skip


def parse_xyz(text: str, name: str = 'record') -> Record:
  """Reads one record.

  Args:
    text: the file.
    name: of the file, for error messages.

  Returns:
    The record; its targets are the 12 properties and the four atomisation
    energies `u0_atom`, ... (molecule minus atoms, eV). The SMILES is that of
    GDB-17, '' where the line is blank.

  Raises:
    ValueError: something is missing, left over or not a number; the message
      names file and line.
  """
  lines = [line.split() for line in text.splitlines()]

  def fail(number, what):
    raise ValueError(f'{name}, line {number}: {what}')

  def numbers(tokens, line):
    values = []
    for token in tokens:
      try:
        values.append(float(token.replace('*^', 'e')))  # Mathematica's 6.8*^-6
      except ValueError:
        fail(line, f'{token!r} is not a number')
      if not math.isfinite(values[-1]):
        fail(line, f'{token!r} is not finite')
    return values

  if not lines or len(lines[0]) != 1 or not lines[0][0].isdecimal():
    fail(1, f'expected the number of atoms, found {text[:40]!r}')
  n_atoms = int(lines[0][0])
  while len(lines) > n_atoms + 5 and not lines[-1]:
    lines.pop()
  if n_atoms < 1 or len(lines) != n_atoms + 5:
    fail(
      1,
      f'{n_atoms} atoms make {n_atoms + 5} lines, but there are {len(lines)}',
    )
  head = lines[1]
  if len(head) != 2 + len(_PROPERTIES) or head[0] != 'gdb':
    fail(2, f"expected 'gdb', the index and 15 properties, found {head[:3]}...")
  if not head[1].isdecimal():
    fail(2, f'the index {head[1]!r} is not a whole number')
  values = {
    key: value
    for key, value in zip(_PROPERTIES, numbers(head[2:], 2), strict=True)
    if key not in _LEFT_OUT
  }
  numbers_A = np.empty(n_atoms, np.int32)
  coords_A3 = np.empty((n_atoms, 3))
  for i in range(n_atoms):
    row = lines[2 + i]
    if len(row) != 5:
      fail(3 + i, f'expected symbol, position and charge, found {row}')
    try:
      numbers_A[i] = elements.atomic_number(row[0])
    except ValueError as error:
      fail(3 + i, str(error))
    if numbers_A[i] not in ATOM_ENERGIES['u0']:
      fail(3 + i, f'{row[0]} is none of the elements of QM9 (H, C, N, O, F)')
    coords_A3[i] = numbers(row[1:4], 3 + i)
  numbers(lines[2 + n_atoms], 3 + n_atoms)
  smiles = lines[3 + n_atoms]
  if len(smiles) > 2:
    fail(4 + n_atoms, f'expected two SMILES, found {smiles}')
  for key, atoms in ATOM_ENERGIES.items():
    reference = sum(atoms[z] for z in numbers_A.tolist())
    values[f'{key}_atom'] = (values[key] - reference) * HARTREE_EV
    if not np.isfinite(values[f'{key}_atom']):
      fail(2, f'{key} = {values[key]} Ha is no energy of a molecule')
  index = int(head[1])
  return Record(
    example_id=f'gdb_{index:06d}',
    index=index,
    numbers=numbers_A,
    coords=coords_A3,
    smiles=smiles[0] if smiles else '',
    targets=values,
  )


def parse_uncharacterized(text: str, name: str = 'uncharacterized.txt'):
  """Parses the ids of the molecules that QM9's authors advise to leave out.

  Their SMILES after relaxation is not the one they started from. The file is
  a table with the id first, under a heading and above a footer.

  Args:
    text: the file.
    name: for error messages.

  Returns:
    Sorted ids, a list.

  Raises:
    ValueError: the ids are not the published number of different ones.
  """
  rows = [line.split() for line in text.splitlines()]
  ids = [int(row[0]) for row in rows if row and row[0].isdecimal()]
  if len(ids) != N_UNCHARACTERIZED or len(set(ids)) != len(ids):
    raise ValueError(
      f'{name}: expected {N_UNCHARACTERIZED} different ids, found {len(ids)} '
      f'({len(set(ids))} different); fetch the file again'
    )
  if not 1 <= min(ids) <= max(ids) <= N_MOLECULES:
    raise ValueError(
      f'{name}: ids lie between {min(ids)} and {max(ids)}, not between 1 and '
      f'{N_MOLECULES}'
    )
  return sorted(ids)
