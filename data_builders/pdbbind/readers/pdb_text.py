"""The text of PDB files: what gemmi would read as something else.

wwPDB, Atomic Coordinate Entry Format 3.3: ATOM and HETATM (section 9; columns
13-27 name an atom, 22 its chain, 23-27 its residue), TER, MODEL, END.
"""

import itertools
import re
import string
from typing import NamedTuple

from data_builders.pdbbind.readers import types

_BLANK_OR_NUMBER = re.compile(r' *(-?\d*\.?\d*)? *')
_COORDINATE = re.compile(r' *-?\d+\.\d* *')
_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits


def is_atom(line: str) -> bool:
  """Returns whether a line is of an atom."""
  return line.startswith(('ATOM', 'HETATM'))


def check_lines(lines: list[str], name: str) -> None:
  """Checks columns that gemmi reads as 0 where they hold no number.

  Raises:
    types.ComplexError: a line is cut off, or has no coordinates, residue name,
      occupancy or B factor.
  """
  previous, last = 0, 0
  for number, line in enumerate(lines, 1):
    if not is_atom(line):
      last = 0 if line.strip() else last
      continue
    where = f'{name}, line {number}'
    if len(line) < 54:
      raise types.ComplexError(f'{where}: cut off: {line.rstrip()!r}')
    if not all(_COORDINATE.fullmatch(line, i, i + 8) for i in (30, 38, 46)):
      raise types.ComplexError(f'{where}: no coordinates: {line[30:54]!r}')
    if not line[17:20].strip():
      raise types.ComplexError(f'{where}: no residue name: {line[:30]!r}')
    if not all(_BLANK_OR_NUMBER.fullmatch(line, i, i + 6) for i in (54, 60)):
      raise types.ComplexError(
        f'{where}: no occupancy or B factor: {line[54:66]!r}'
      )
    previous, last = last, len(line.rstrip())
  # Occupancy and B may be absent, but not from the last line alone.
  if last and last < min(previous, 66):
    raise types.ComplexError(f'{name}: cut off in its last line')


def pass_over_ends(lines: list[str], name: str) -> str:
  """Blanks END lines that atoms follow, in place, where nothing is guessed.

  Readers stop at the first END. Parts of one structure have different atoms;
  frames of a trajectory have the same, and are refused where no MODEL says so.

  Returns:
    A note, or ''.

  Raises:
    types.ComplexError: atoms after END are those before it once more.
  """
  ends = [i for i, line in enumerate(lines) if line.split()[:1] == ['END']]
  if not ends or not any(map(is_atom, lines[ends[0] :])):
    return ''
  before = {line[12:27] for line in lines[: ends[0]] if is_atom(line)}
  after = [line[12:27] for line in lines[ends[0] :] if is_atom(line)]
  has_models = any(line.startswith('MODEL') for line in lines)
  again = 0 if has_models else sum(atom in before for atom in after)
  if again:
    raise types.ComplexError(
      f'{name}: {len(after)} lines of atoms follow END in line {ends[0] + 1}, '
      f'{again} of which name atoms before it: put MODEL and ENDMDL around '
      'models, or give other chains other letters'
    )
  for i in ends:
    lines[i] = ''
  return f'{len(after)} lines of atoms after END in line {ends[0] + 1} are read'


def name_chains(lines: list[str]) -> dict[str, str]:
  """Gives each chain a name of its own, in place.

  A chain ends at TER. Chains without a letter also end where the numbers of
  residues fall, as in PDBbind's pockets; those with a letter only if the atoms
  that follow are there already (files that append atoms are one chain).

  Returns:
    Name in the lines -> name to be used, of chains whose name changes: _1, _2,
    ... without a letter, A_2, A_3, ... for more chains A.
  """
  used = {line[20:22].strip() for line in lines if is_atom(line)}
  pairs = map(''.join, itertools.product(_LETTERS, repeat=2))
  free = (c for c in itertools.chain(_LETTERS, pairs) if c not in used)
  codes, names = {}, {}
  for letter, number, rows in _chains(lines):
    if letter != ' ' and number == 1:
      continue
    if (letter, number) not in codes:
      code = codes[letter, number] = next(free)
      names[code] = f'{letter.strip()}_{number}'
    code = codes[letter, number]
    for i in rows:
      lines[i] = f'{lines[i][:20]}{code:>2}{lines[i][22:]}'
  return names


class _Run(NamedTuple):
  """Lines of a chain's letter up to TER, or to where its numbers fall."""

  letter: str
  after_ter: bool
  rows: list[int]
  atoms: set[str]


def _chains(lines):
  """Yields (letter, number among the chains of that letter, rows)."""
  numbers, atoms = {}, {}
  for run in _runs(lines):
    if run is None:  # the next model has the same chains
      numbers, atoms = {}, {}
      continue
    letter = run.letter
    is_next = (
      letter == ' ' or run.after_ter or run.atoms & atoms.get(letter, set())
    )
    if letter not in numbers:
      numbers[letter] = 1
    elif is_next:
      numbers[letter] += 1
      atoms[letter] = set()
    atoms[letter] = atoms.get(letter, set()) | run.atoms
    yield letter, numbers[letter], run.rows


def _runs(lines):
  """Yields runs in order of their first lines, and None between models."""
  runs, open_runs, last, ended, letter = [], {}, {}, set(), None
  for i, line in enumerate(lines):
    if line.startswith('MODEL'):
      runs.append(None)
      open_runs, last, ended = {}, {}, set()
    elif line.startswith('TER'):
      ended.add(letter)
    elif is_atom(line):
      letter = line[21]
      number = _number(line) if line.startswith('ATOM') else None
      falls = None not in (number, last.get(letter)) and number < last[letter]
      after_ter = letter in ended and line.startswith('ATOM')
      if letter not in open_runs or falls or after_ter:
        open_runs[letter] = _Run(letter, after_ter, [], set())
        runs.append(open_runs[letter])
        ended.discard(letter)
      open_runs[letter].rows.append(i)
      open_runs[letter].atoms.add(line[12:27])
      if number is not None:  # metals and waters have their own numbers
        last[letter] = number
  return runs


def _number(line: str) -> int | None:
  try:
    return int(line[22:26])
  except ValueError:  # hybrid-36 of more than 9999
    return None
