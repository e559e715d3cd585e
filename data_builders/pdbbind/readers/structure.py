"""PDB and mmCIF files, checked and read as gemmi's structures.

gemmi reads a coordinate that is no number as 0 and merges residues of one
number in a chain without a name; the text is checked for both before.
PDB columns: wwPDB, Atomic Coordinate Entry Format 3.3, section 9.
"""

import math
import pathlib
import re
import string

import numpy as np

from data_builders.pdbbind.readers import layout, types

NO_LABEL = '\0'  # gemmi's for an atom without alternatives
_BLANK_OR_NUMBER = re.compile(r' *(-?\d*\.?\d*)? *')
_COORDINATE = re.compile(r' *-?\d+\.\d* *')
_LETTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
# Names of force fields, which no table of residues has.
_FORCE_FIELD = {
  'HID': 'HIS', 'HIE': 'HIS', 'HIP': 'HIS', 'HSD': 'HIS', 'HSE': 'HIS',
  'HSP': 'HIS', 'CYX': 'CYS', 'CYM': 'CYS', 'ASH': 'ASP', 'GLH': 'GLU',
  'LYN': 'LYS', 'TIP': 'HOH', 'SOL': 'HOH',
}  # fmt: skip
_ELEMENTS = ('H', 'C', 'N', 'O', 'S', 'P')  # of standard residues


def read(path):
  """Reads a structure with gemmi and checks every atom.

  Chains without a name are divided where the numbers of their residues fall,
  which is where PDBbind's pockets go from one chain to the next, and get the
  names _1, _2, ... Where the columns of the element are blank, it follows from
  the name of the atom and its position; in amino acids and nucleotides from the
  first letter alone (CA is a carbon there).

  Args:
    path: .pdb, .ent or .cif, gzipped or not.

  Returns:
    gemmi.Structure.

  Raises:
    types.ComplexError: the file is empty, cut off or not what its name says;
      an atom has no residue name, no element or a coordinate that is no
      number; there are no atoms. The message names the file, and the line of
      a PDB file or the atom.
  """
  import gemmi

  path = pathlib.Path(path)
  text = layout.read_text(path)
  named = {}
  try:
    if path.name.lower().removesuffix('.gz').endswith('cif'):
      block = gemmi.cif.read_string(text)[0]
      structure = gemmi.make_structure_from_block(block)
    else:
      lines = text.splitlines()
      _check_lines(lines, path.name)
      named = _name_chains(lines)
      _write_elements(lines)
      structure = gemmi.read_pdb_string('\n'.join(lines) + '\n')
  except types.ComplexError:
    raise
  except (RuntimeError, ValueError, IndexError) as error:  # of gemmi
    raise types.ComplexError(f'{path.name}: {error}') from error
  if not len(structure) or not structure[0].count_atom_sites():
    raise types.ComplexError(f'{path.name}: no atoms')
  for chain in structure[0]:
    chain.name = named.get(chain.name, chain.name)
    for residue in chain:
      _check_residue(residue, f'{path.name}: {chain.name} {residue}')
  return structure


def tabulated(name: str):
  """Returns gemmi's facts on a residue, which may have a force field's name."""
  import gemmi

  return gemmi.find_tabulated_residue(_FORCE_FIELD.get(name, name))


def is_water(name: str) -> bool:
  """Returns whether a residue of that name is water."""
  return tabulated(name).is_water()


def is_amino_acid(residue) -> bool:
  """Returns whether a residue is an amino acid.

  The name is not enough: calcium ions named CAS, the code of a cysteine, are
  in PDBbind. An amino acid has a carbon atom CA.
  """
  return tabulated(residue.name).is_amino_acid() and any(
    atom.name == 'CA' and atom.element.name == 'C' for atom in residue
  )


def arrays_of(atoms) -> types.Atoms:
  """Returns the arrays of a list of gemmi's atoms."""
  return types.Atoms(
    np.array([atom.element.atomic_number for atom in atoms], np.int32),
    np.array([atom.pos.tolist() for atom in atoms], np.float64).reshape(-1, 3),
    np.array([atom.b_iso for atom in atoms], np.float64),
    np.array([atom.occ for atom in atoms], np.float64),
  )


def best_alternative(atoms) -> str:
  """Returns the label of the location with the highest sum of occupancies.

  Among equals it is the first by name; NO_LABEL where no atom has a label.
  """
  sums = {}
  for atom in atoms:
    if atom.altloc != NO_LABEL:
      sums[atom.altloc] = sums.get(atom.altloc, 0.0) + atom.occ
  # Sums of float32 in another order differ in the last digits.
  order = sorted(sums, key=lambda label: (-round(sums[label], 4), label))
  return order[0] if order else NO_LABEL


def _is_atom(line: str) -> bool:
  return line.startswith(('ATOM', 'HETATM'))


def _check_lines(lines, name) -> None:
  previous, last = 0, 0
  for number, line in enumerate(lines, 1):
    if not _is_atom(line):
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


def _name_chains(lines) -> dict[str, str]:
  """Gives chains without a name letters, in place; letter -> name."""
  if not any(_is_atom(line) and line[21] == ' ' for line in lines):
    return {}
  used = {line[21] for line in lines if _is_atom(line)}
  free = [letter for letter in _LETTERS if letter not in used]
  n_chains, last, ended = 1, None, False
  for i, line in enumerate(lines):
    if line.startswith('TER'):
      ended = True
    elif _is_atom(line) and line[21] == ' ':
      if line.startswith('ATOM'):  # metals and waters have their own numbers
        number = int(line[22:26]) if line[22:26].strip().isdigit() else None
        falls = None not in (number, last) and number < last
        if (falls or ended) and last is not None and n_chains < len(free):
          n_chains += 1
        last, ended = number, False
      lines[i] = f'{line[:21]}{free[n_chains - 1]}{line[22:]}'
  return {free[i]: f'_{i + 1}' for i in range(n_chains)}


def _write_elements(lines) -> None:
  """Fills blank columns of elements in standard residues, in place."""
  for i, line in enumerate(lines):
    if _is_atom(line) and not line[76:78].strip():
      letter = line[12:16].strip(' 0123456789')[:1]
      if letter in _ELEMENTS and tabulated(line[17:20].strip()).is_standard():
        lines[i] = f'{line[:76]:76}{letter:>2}{line[78:]}'


def _check_residue(residue, where) -> None:
  if not residue.name.strip():
    raise types.ComplexError(f'{where}: no residue name')
  for atom in residue:
    if atom.element.atomic_number == 0:
      raise types.ComplexError(
        f'{where}: no element {atom.element.name!r} (atom {atom.name!r}, '
        f'serial {atom.serial})'
      )
    if not -0.01 < atom.occ < 1.01 or not math.isfinite(atom.b_iso):
      raise types.ComplexError(
        f'{where}: occupancy {atom.occ:g}, B {atom.b_iso:g} (atom '
        f'{atom.name!r}, serial {atom.serial})'
      )
    if not math.isfinite(atom.pos.length()):
      raise types.ComplexError(
        f'{where}: coordinates are not finite: {atom.pos.tolist()} (atom '
        f'{atom.name!r}, serial {atom.serial})'
      )
