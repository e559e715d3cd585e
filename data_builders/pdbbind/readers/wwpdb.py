"""Complexes from entries of the wwPDB, without PDBbind's own files."""

import pathlib

from data_builders.pdbbind.readers import layout, named_ligands, types
from data_builders.pdbbind.readers import ligand as ligand_lib
from data_builders.pdbbind.readers import pocket as pocket_lib
from data_builders.pdbbind.readers import structure as structure_lib
from data_builders.support import download
from edjax.data import pdb_ids

# Structures from RCSB (https://www.rcsb.org/docs/programmatic-access), 2Fo-Fc
# maps of X-ray entries from PDBe (https://www.ebi.ac.uk/pdbe).
ENTRY_URL = 'https://files.rcsb.org/download/{id}.cif.gz'
MAP_URL = 'https://www.ebi.ac.uk/pdbe/entry-files/{id}.ccp4'
# Strands of a sheet, of which the narrowest crystals are made, are 4.7 Å apart.
_NARROWEST_CELL_A = 3.0


def split_entry(
  path,
  ligand_code: str,
  radius: float,
  hydrogens: bool = False,
) -> tuple[types.Ligand, types.Pocket]:
  """Divides an entry into a ligand and its pocket.

  The ligand is the residue with the code, or several that are bound to each
  other (see `named_ligands.find`). Among several copies the one with the fewest
  heavy atoms missing is taken (missing of the component's, where an mmCIF file
  lists them, else of those of the fullest copy), then the lowest mean B of its
  heavy atoms, then the first in the file; among the alternative locations of a
  residue the one with the highest sum of occupancies. The pocket follows the
  rules of `pocket.read_pocket`, about the ligand's centre of mass. It ends with
  the asymmetric unit: atoms of its symmetry mates are counted, not included.

  There are no bonds in such files, so that no charge is known and no
  hydrogens can be added for GFN2-xTB.

  Args:
    path: <id>.cif, .pdb or .ent, gzipped or not.
    ligand_code: name of the ligand, as in the last column of an index.
    radius: Å.
    hydrogens: keep hydrogen atoms in the pocket.

  Returns:
    Ligand and pocket. `Ligand.source` names file and residue; the choice among
    copies, missing atoms, alternatives and symmetry mates are told in
    `Ligand.problems`.

  Raises:
    types.ComplexError: no file; it cannot be used; no residue of the entry, or
      several different ones, may be the ligand.
  """
  if path is None:
    raise types.ComplexError('no file of the wwPDB (<id>.cif or <id>.pdb)')
  path = pathlib.Path(path)
  code = ligand_code.strip(' _')  # PDBbind writes _NA for NA
  structure = structure_lib.read(path)
  copies = named_ligands.find(structure, code, path.name)
  names = _component_atoms(path, code.upper()) or max(
    (copy.names for copy in copies), key=len
  )
  chosen = min(
    copies, key=lambda copy: (len(names - copy.names), copy.mean_b, copy.index)
  )
  notes = _notes(code, chosen, copies, names)
  atoms = structure_lib.arrays_of(chosen.atoms, path.name)
  centre_3 = ligand_lib.centre(atoms)
  pocket = pocket_lib.select(
    structure, path.name, centre_3, radius, atoms, hydrogens
  )
  n_mates = count_symmetry_mates(structure, centre_3, radius)
  if n_mates:
    notes.append(
      f'{n_mates} heavy atoms of symmetry mates within {radius:g} Å are not '
      'included'
    )
  ligand = types.Ligand(
    atoms, None, None, f'{path.name}: {code} {chosen.place}', tuple(notes)
  )
  return ligand, pocket


def count_symmetry_mates(structure, centre_3, radius: float) -> int:
  """Counts heavy atoms of symmetry mates around a point.

  Water is not counted.

  Args:
    structure: gemmi.Structure; one that is no crystal has none.
    centre_3: [3] Å.
    radius: Å.
  """
  import gemmi

  if not structure.cell.is_crystal():
    return 0
  model, centre = structure[0], gemmi.Position(*centre_3)
  # Of cells narrower than its bins, gemmi sees the nearest neighbours alone.
  search = gemmi.NeighborSearch(model, structure.cell, _NARROWEST_CELL_A)
  marks = search.populate(include_h=False).find_atoms(centre, radius=radius)
  near = [mark.to_cra(model) for mark in marks]
  own = [
    site
    for site in model.all()
    if site.atom.pos.dist(centre) <= radius and not site.atom.is_hydrogen()
  ]

  def count(sites):
    return sum(not structure_lib.is_water(site.residue.name) for site in sites)

  return count(near) - count(own)


def fetch_entry(pdb_id: str, directory, url: str = ENTRY_URL) -> pathlib.Path:
  """Downloads <id>.cif.gz, once; see `download.fetch_recorded`.

  Args:
    pdb_id: four characters.
    directory: where the file and <file>.json (address, size, hash) go.
    url: with {id} in it.

  Raises:
    OSError: no connection, or no such entry.
    ValueError: not the file that was recorded before, or no mmCIF file.
  """
  pdb_id = pdb_ids.pdb_id(pdb_id)
  path = pathlib.Path(directory) / f'{pdb_id}.cif.gz'
  return download.fetch_recorded(url.format(id=pdb_id), path, _check_entry)


def fetch_map(pdb_id: str, directory, url: str = MAP_URL) -> pathlib.Path:
  """Downloads <id>.ccp4, once; see `fetch_entry`.

  Raises:
    OSError: no connection, or no such map (entries without structure factors
      have none).
    ValueError: not the file that was recorded before, or no CCP4 map.
  """
  pdb_id = pdb_ids.pdb_id(pdb_id)
  path = pathlib.Path(directory) / f'{pdb_id}.ccp4'
  return download.fetch_recorded(url.format(id=pdb_id), path, _check_map)


def _component_atoms(path, code) -> set[str]:
  """Returns names of the component's heavy atoms; empty without any."""
  import gemmi

  text = layout.read_text(path)
  if '_chem_comp_atom.' not in text:
    return set()
  table = gemmi.cif.read_string(text)[0].find(
    '_chem_comp_atom.', ['comp_id', 'atom_id', 'type_symbol']
  )
  return {
    row.str(1)
    for row in table
    if row.str(0) == code and row.str(2).upper() not in ('H', 'D')
  }


def _notes(code, chosen, copies, names) -> list[str]:
  notes = []
  missing = sorted(names - chosen.names)
  if len(copies) > 1:
    others = ', '.join(
      f'{copy.place} ({len(names - copy.names)} missing, B {copy.mean_b:.1f})'
      for copy in copies
      if copy is not chosen
    )
    notes.append(
      f'{code} {chosen.place} ({len(missing)} missing, B {chosen.mean_b:.1f}) '
      f'taken before {others}'
    )
  if missing:
    notes.append(
      f'{code} {chosen.place} lacks {len(missing)} of {len(names)} heavy '
      f'atoms: {", ".join(missing)}'
    )
  if chosen.best:
    notes.append(
      f'{code} {chosen.place}: alternative location {chosen.best} taken'
    )
  return notes


def _check_entry(path) -> None:
  text = layout.read_text(path)
  if not text.lstrip().startswith('data_') or '_atom_site.' not in text:
    raise ValueError(f'no mmCIF file with atoms: {text[:40]!r}')


def _check_map(path) -> None:
  with open(path, 'rb') as file:
    header = file.read(1024)
  if header[208:212] != b'MAP ':  # word 53 of CCP4 and MRC headers
    raise ValueError(f'no CCP4 map: {header[:40]!r}')
