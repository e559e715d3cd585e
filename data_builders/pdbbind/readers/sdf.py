"""The text of SDF records: atoms, dimension, what the fields mean.

BIOVIA, CTFile formats 2020. V2000, columns of the atom block: 1-10, 11-20,
21-30 coordinates, 32-34 symbol, 43-45 hydrogens and one, 49-51 valence; of the
bond block: 1-3, 4-6 atoms, 7-9 order. V3000: 'M  V30 index symbol x y z ...'.
"""

from data_builders.pdbbind.readers import types

_V30 = 'M  V30 '


def atoms(text: str, name: str) -> tuple[list[str], list[list[float]]]:
  """Returns the symbols and coordinates of a record.

  Args:
    text: of one record.
    name: of the file, for messages.

  Raises:
    types.ComplexError: no counts, a line that is no atom, or another number
      of atoms than announced.
  """
  lines = text.splitlines()
  counts = lines[3] if len(lines) > 3 else ''
  if counts.rstrip().endswith('V3000'):
    return _v3000_atoms(lines, name)
  if not counts[:3].strip().isdigit():
    raise types.ComplexError(
      f'{name}: no V2000 counts in line 4: {counts[:20]!r}'
    )
  n_atoms = int(counts[:3])
  symbols, coords = [], []
  for number, line in enumerate(lines[4 : 4 + n_atoms], 5):
    try:
      coords.append([float(line[i : i + 10]) for i in (0, 10, 20)])
    except ValueError as error:
      raise types.ComplexError(
        f'{name}, line {number} of the record: no atom: {line[:40]!r}'
      ) from error
    symbols.append(line[31:34].strip())
  check_count(len(symbols), n_atoms, name)
  return symbols, coords


def says_flat(text: str) -> bool:
  """Returns whether the record's second line has 2D as its dimension."""
  return (text.splitlines() + [''] * 2)[1][20:22] == '2D'


def without_neighbour_counts(text: str) -> str:
  """Blanks the valences of a V2000 record where they are none.

  Some programs write the number of neighbours there, which RDKit takes as the
  number of bonds and adds no hydrogens. An atom whose bonds have higher orders
  than its valence allows tells such a record.
  """
  lines = text.splitlines()
  if len(lines) < 4 or not lines[3].rstrip().endswith('V2000'):
    return text
  try:
    n_atoms, n_bonds = int(lines[3][:3]), int(lines[3][3:6])
    rows = range(4, 4 + n_atoms)
    stated = [int(lines[i][48:51].strip() or 0) for i in rows]
    orders = [0.0] * n_atoms
    for line in lines[4 + n_atoms : 4 + n_atoms + n_bonds]:
      order = int(line[6:9])
      for atom in (int(line[:3]), int(line[3:6])):
        orders[atom - 1] += 1.5 if order == 4 else order
  except (ValueError, IndexError):  # RDKit tells what is wrong
    return text
  # 15 stands for a valence of 0.
  if not any(0 < v < 15 and v < o for v, o in zip(stated, orders, strict=True)):
    return text
  for i in rows:
    lines[i] = f'{lines[i][:48]}  0{lines[i][51:]}'
  return '\n'.join(lines) + '\n'


def stated_hydrogens(text: str) -> list[int]:
  """Returns the number of hydrogens of each atom of a V2000 record.

  It counts those that are atoms of the record too, as PDBbind's files have it,
  and is -1 where the record does not say.
  """
  lines = text.splitlines()
  if len(lines) < 4 or not lines[3].rstrip().endswith('V2000'):
    return []
  fields = [line[42:45].strip() for line in lines[4 : 4 + int(lines[3][:3])]]
  return [int(field) - 1 if field.isdigit() else -1 for field in fields]


def check_count(count: int, announced: int, name: str) -> None:
  """Raises ComplexError where a record has another number of atoms."""
  if count != announced:
    raise types.ComplexError(
      f'{name}: {count} atoms where {announced} are announced: cut off?'
    )


def _v3000_atoms(lines, name):
  rows, open_block, announced = [], False, -1
  for line in '\n'.join(lines).replace('-\n' + _V30, '').splitlines():
    words = line.removeprefix(_V30).split()
    if words[:1] == ['COUNTS'] and words[1:2] and words[1].isdigit():
      announced = int(words[1])
    elif words[:2] in (['BEGIN', 'ATOM'], ['END', 'ATOM']):
      open_block = words[0] == 'BEGIN'
    elif open_block:
      rows.append(words)
  try:
    symbols = [words[1] for words in rows]
    coords = [[float(word) for word in words[2:5]] for words in rows]
  except (ValueError, IndexError) as error:
    raise types.ComplexError(f'{name}: no V3000 atom: {error}') from error
  check_count(len(symbols), announced, name)
  return symbols, coords
