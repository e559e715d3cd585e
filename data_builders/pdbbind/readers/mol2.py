"""The text of mol2 records: elements of atom types, orders of bonds.

Tripos Mol2 file format, 2009 (SYBYL's types); GAFF: J. Wang et al., J. Comput.
Chem. 2004, 25, 1157, and gaff2.dat of AmberTools, whose types are lower case.
"""

import re

from data_builders.pdbbind.readers import sdf, types
from edjax.chem import elements

_ATOMS = '@<TRIPOS>ATOM'
_BONDS = '@<TRIPOS>BOND'
_ORDERS = ('1', '2', '3', 'am', 'ar')
_GAFF = re.compile(
  r'(?P<two>cl|br)|(?P<one>[fi]|s[2468hsxypq]?|p[2-5bcdefxy]?|[chno][a-z0-9+]?)'
)
# Upper case has one reading here: CA or NA is an atom type of Amber as well.
_HALOGENS = {'CL': 'Cl', 'BR': 'Br'}
# A name that says no more than an element and a number.
_NAME = re.compile(r'(CL|BR|[BCNOFPSIH])[0-9]+', re.IGNORECASE)


def atoms(text: str, name: str):
  """Returns ((symbols, coordinates), atom types) of a record.

  Args:
    text: of one record.
    name: of the file, for messages.

  Raises:
    types.ComplexError: no atoms are announced, a line that is no atom, another
      number of atoms than announced, a type that has no one element, or an
      element that contradicts the atom's name.
  """
  lines = _lines(text)
  counts = lines[2][1].split() if len(lines) > 2 else []
  rows = _block(lines, _ATOMS)
  if not counts or not counts[0].isdigit() or rows is None:
    raise types.ComplexError(f'{name}: no mol2 molecule with atoms')
  bonded = {w for _, words in _block(lines, _BONDS) or () for w in words[1:3]}
  symbols, coords, types_A = [], [], []
  for number, words in rows:
    where = f'{name}, line {number} of the record: atom {len(symbols) + 1}'
    try:
      coords.append([float(word) for word in words[2:5]])
      types_A.append(words[5])
    except (ValueError, IndexError) as error:
      raise types.ComplexError(
        f'{name}, line {number} of the record: no atom: '
        f'{" ".join(words)[:40]!r}'
      ) from error
    symbols.append(_symbol(words[5], words[0] in bonded, where))
    named = _NAME.fullmatch(words[1])
    if named and named[1].capitalize() != symbols[-1]:
      raise types.ComplexError(
        f'{where}, {words[1]}, has the type {words[5]}, of '
        f'{symbols[-1]}: name and type contradict each other'
      )
  sdf.check_count(len(symbols), int(counts[0]), name)
  return (symbols, coords), types_A


def unclear_bond(text: str) -> str:
  """Names a bond without a definite order; '' where all have one."""
  for number, words in _block(_lines(text), _BONDS) or ():
    if len(words) < 4 or words[3].lower() not in _ORDERS:
      return (
        f'line {number} of the record: a bond of type '
        f'{" ".join(words[3:4]) or "none"}, which is no order'
      )
  return ''


def for_rdkit(text: str, types_A, symbols) -> str:
  """Replaces types that RDKit does not know by the symbols of elements."""
  lines = text.splitlines()
  rows = _block(_lines(text), _ATOMS)
  for (number, words), kind, symbol in zip(rows, types_A, symbols, strict=True):
    if kind.split('.')[0] != symbol:
      words = [*words[:5], symbol, *words[6:]]
      lines[number - 1] = ' '.join(words)
  return '\n'.join(lines) + '\n'


def complete(molecule, types_A) -> None:
  """Lets atoms have the hydrogens that the file lacks, in place.

  RDKit takes the hydrogens of a mol2 file as complete, and a hydroxyl group
  without its own as charged. Carbon that lacks hydrogens gets them in any
  file, as with united atoms; other elements do where the file has no hydrogen
  at all. O.co2 is charged by its type.
  """
  bare = all(atom.GetAtomicNum() != 1 for atom in molecule.GetAtoms())
  for atom, kind in zip(molecule.GetAtoms(), types_A, strict=True):
    if bare or atom.GetAtomicNum() == 6:
      atom.SetNoImplicit(False)
    if bare and atom.GetFormalCharge() < 0 and kind.lower() != 'o.co2':
      atom.SetFormalCharge(0)


def _symbol(kind: str, is_bonded: bool, where: str) -> str:
  first = kind.split('.')[0]
  if first in ('D', 'T') or first in elements.SYMBOLS[1:]:
    return first
  gaff = _GAFF.fullmatch(kind)
  if gaff and is_bonded:  # an atom alone may be calcium as well as carbon
    return (gaff['two'] or kind[0]).capitalize()
  if first in _HALOGENS:
    return _HALOGENS[first]
  raise types.ComplexError(
    f'{where}: unknown element symbol {first!r} (atom type {kind}, neither of '
    'SYBYL nor of GAFF)'
  )


def _lines(text) -> list[tuple[int, str]]:
  """Returns (number, line) from the record's start, without comments."""
  return [
    (number, line.strip())
    for number, line in enumerate(text.splitlines(), 1)
    if not line.startswith('#')
  ]


def _block(lines, start):
  """Returns (line's number, words) of a block; None where it is missing."""
  at = [i for i, (_, line) in enumerate(lines) if line == start]
  if not at:
    return None
  rows = []
  for number, line in lines[at[0] + 1 :]:
    if line.startswith('@'):
      break
    if line:
      rows.append((number, line.split()))
  return rows
