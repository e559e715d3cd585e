"""PDB and mmCIF files, checked and read as gemmi's structures.

gemmi reads a coordinate that is no number as 0, ends at the first END and
merges residues of one number in chains of one name; `pdb_text` sees to these
before, and what was read is compared with the text afterwards.
"""

import math
import pathlib

import numpy as np

from data_builders.pdbbind.readers import layout, pdb_text, types

NO_LABEL = '\0'  # gemmi's for an atom without alternatives
# Key of gemmi's structure.info for our remarks.
_NOTES = 'edjax_notes'
# Strands of a sheet, of which the narrowest crystals are made, are 4.7 Å apart.
_NARROWEST_CELL_A = 3.0
# Names of force fields, which no table of residues has.
_FORCE_FIELD = {
  'HID': 'HIS', 'HIE': 'HIS', 'HIP': 'HIS', 'HSD': 'HIS', 'HSE': 'HIS',
  'HSP': 'HIS', 'CYX': 'CYS', 'CYM': 'CYS', 'ASH': 'ASP', 'GLH': 'GLU',
  'LYN': 'LYS', 'TIP': 'HOH', 'SOL': 'HOH',
}  # fmt: skip
_ELEMENTS = ('H', 'C', 'N', 'O', 'S', 'P')  # of standard residues


def read(path):
  """Reads a structure with gemmi and checks every atom.

  Chains have names of their own: of PDB files, see `pdb_text.name_chains`.
  Where the columns of the element are blank, it follows from
  the name of the atom and its position; in amino acids and nucleotides from the
  first letter alone (CA is a carbon there). A cell that no crystal has, as of
  zeros, is dropped: `notes` says so.

  Atoms of unknown element stay, and are refused by whoever uses them
  (`arrays_of`). Occupancies may be any number.

  Args:
    path: .pdb, .ent or .cif, gzipped or not.

  Returns:
    gemmi.Structure.

  Raises:
    types.ComplexError: the file is empty, cut off or not what its name says;
      an atom has no residue name or a coordinate that is no number; atoms after
      END are those before; there are no atoms, or others than in the text. The
      message names the file, and the line of a PDB file or the atom.
  """
  import gemmi

  path = pathlib.Path(path)
  text = layout.read_text(path)
  remarks = []
  try:
    if path.name.lower().removesuffix('.gz').endswith('cif'):
      block = gemmi.cif.read_string(text)[0]
      structure = gemmi.make_structure_from_block(block)
      announced = len(block.find_values('_atom_site.Cartn_x'))
    else:
      structure, announced = _read_pdb(text, path.name, remarks)
  except types.ComplexError:
    raise
  except (RuntimeError, ValueError, IndexError) as error:  # of gemmi
    raise types.ComplexError(f'{path.name}: {error}') from error
  if not len(structure) or not structure[0].count_atom_sites():
    raise types.ComplexError(f'{path.name}: no atoms')
  n_read = sum(model.count_atom_sites() for model in structure)
  if n_read != announced:
    raise types.ComplexError(
      f'{path.name}: {n_read} atoms are read of {announced} in the text'
    )
  for chain in structure[0]:
    for residue in chain:
      _check_residue(residue, f'{path.name}: {chain.name} {residue}')
  _check_cell(structure, remarks)
  structure.info[_NOTES] = '; '.join(remarks)
  return structure


def notes(structure) -> str:
  """Returns remarks of `read` on a structure, '' for none."""
  return structure.info[_NOTES]


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


def arrays_of(atoms, name: str) -> types.Atoms:
  """Returns the arrays of a list of gemmi's atoms.

  Args:
    atoms: gemmi.Atom.
    name: of the file, for messages.

  Raises:
    types.ComplexError: the element of an atom is unknown.
  """
  for atom in atoms:
    if atom.element.atomic_number == 0:
      raise types.ComplexError(
        f'{name}: no element {atom.element.name!r} (atom {atom.name!r}, serial '
        f'{atom.serial}): write one, or leave the atom out'
      )
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


def _read_pdb(text, name, remarks):
  """Returns (structure, number of atoms in the text)."""
  import gemmi

  lines = text.splitlines()
  pdb_text.check_lines(lines, name)
  note = pdb_text.pass_over_ends(lines, name)
  if note:
    remarks.append(note)
  named = pdb_text.name_chains(lines)
  _write_elements(lines)
  structure = gemmi.read_pdb_string('\n'.join(lines) + '\n')
  for model in structure:
    for chain in model:
      chain.name = named.get(chain.name, chain.name)
  return structure, sum(map(pdb_text.is_atom, lines))


def _check_cell(structure, remarks) -> None:
  """Drops a cell that no crystal has, in place."""
  import gemmi

  cell = structure.cell
  edges = cell.a, cell.b, cell.c
  unset = gemmi.UnitCell()
  if edges == (unset.a, unset.b, unset.c):  # of structures without a crystal
    return
  if min(edges) < _NARROWEST_CELL_A or not 0 < cell.volume < math.inf:
    remarks.append(
      'no symmetry: a cell of {:g} x {:g} x {:g} Å is no crystal'.format(*edges)
    )
    structure.cell = unset


def _write_elements(lines) -> None:
  """Fills blank columns of elements in standard residues, in place."""
  for i, line in enumerate(lines):
    if pdb_text.is_atom(line) and not line[76:78].strip():
      letter = line[12:16].strip(' 0123456789')[:1]
      if letter in _ELEMENTS and tabulated(line[17:20].strip()).is_standard():
        lines[i] = f'{line[:76]:76}{letter:>2}{line[78:]}'


def _check_residue(residue, where) -> None:
  if not residue.name.strip():
    raise types.ComplexError(f'{where}: no residue name')
  for atom in residue:
    if not math.isfinite(atom.occ) or not math.isfinite(atom.b_iso):
      raise types.ComplexError(
        f'{where}: occupancy {atom.occ:g}, B {atom.b_iso:g} (atom '
        f'{atom.name!r}, serial {atom.serial})'
      )
    if not math.isfinite(atom.pos.length()):
      raise types.ComplexError(
        f'{where}: coordinates are not finite: {atom.pos.tolist()} (atom '
        f'{atom.name!r}, serial {atom.serial})'
      )
