"""Molecules of SDF, MOL and mol2 files."""

import pathlib
import re
from collections.abc import Iterator, Sequence

from data_builders.own import columns
from data_builders.own.types import Options, Raw, RecordError
from data_builders.pdbbind.readers import molfile
from data_builders.pdbbind.readers.types import ComplexError
from edjax.runtime import reading

# The name of a property, and its lines up to an empty one.
_PROPERTY = re.compile(r'^>[^\n]*?<([^>\n]+)>[^\n]*\n((?:[^\n]+\n)*)', re.M)
KINDS = {'.sdf': 'sdf', '.sd': 'sdf', '.mol': 'sdf', '.mol2': 'mol2'}


def read(path, options: Options) -> Iterator[Raw]:
  """Reads an SDF file with any number of records; see `sources.read`."""
  path = pathlib.Path(path)
  records = split(path, 'sdf')
  values = [properties(text) for text in records]
  names = list(dict.fromkeys(name for row in values for name in row))
  of = columns.found(names, options, str(path))
  ids = ids_of(path, records, values, of.id)
  for i, (text, row) in enumerate(zip(records, values, strict=True)):
    where = f'{path.name}, record {i + 1}'
    raw = Raw(ids[i], i + 1, where, values=row)
    yield with_molecule(raw, text, 'sdf', of)


def ids_of(path, records: Sequence[str], values, column: str) -> list[str]:
  """Returns the ids of records: of a column, else titles where they differ.

  Args:
    path: of the file, from whose name numbers are made where there are none.
    records: texts.
    values: their properties.
    column: of ids; '' for none.
  """
  stem = path.name.partition('.')[0]
  if column:
    return columns.ids(values, column, stem)
  titles = [text.partition('\n')[0].strip() for text in records]
  return columns.ids_of_titles(titles, stem)


def split(path, kind: str) -> list[str]:
  """Returns the texts of a file's records.

  Args:
    path: of the file, gzipped or not.
    kind: 'sdf' or 'mol2'.

  Raises:
    ValueError: there is none, or it is no text.
  """
  path = pathlib.Path(path)
  text = reading.decoded(reading.unpacked(path), path, 'replace')
  text = text.replace('\r\n', '\n')
  if not text.strip():
    raise ValueError(f'{path} is empty')
  records = molfile.split(text, kind)
  if not records:
    raise ValueError(f'{path} has no {kind} record')
  return records


def properties(text: str) -> dict[str, str]:
  """Returns the properties of an SDF record, several lines joined."""
  return {
    name.strip(): ' '.join(lines.split('\n')).strip()
    for name, lines in _PROPERTY.findall(text)
  }


def with_molecule(raw: Raw, text: str, kind: str, of: Options) -> Raw:
  """Adds the molecule of a record's text, or the problem with it.

  Args:
    raw: with its values.
    text: of the record.
    kind: 'sdf' or 'mol2'.
    of: names of columns as `raw.values` has them.
  """
  try:
    charge = columns.whole(raw.values, of.charge)
    unpaired = columns.whole(raw.values, of.unpaired)
    record = molfile.parse(text, kind, raw.where)
    if record.molecule is None:
      for_xtb = not raw.density
      return raw._replace(**_without_bonds(record, charge, unpaired, for_xtb))
    return raw._replace(**_with_bonds(record.molecule, charge, unpaired, of))
  except (RecordError, ComplexError) as error:
    reason = str(error).removeprefix(f'{raw.where}: ')
    return raw._replace(problem=reason)


def _without_bonds(record, charge, unpaired, for_xtb: bool) -> dict:
  """Returns fields of `Raw` where RDKit refuses the bonds."""
  charge = record.formal_charge if charge is None else charge
  if for_xtb and (charge is None or not (record.numbers == 1).any()):
    raise RecordError(
      f'RDKit refuses its bonds ({record.refusal}), without which neither '
      'charge nor missing hydrogens are known'
    )
  return {
    'numbers': record.numbers,
    'coords': record.coords,
    'charge': charge or 0,
    'unpaired': unpaired or 0,
    'notes': f'without bonds: {record.refusal}',
  }


def _with_bonds(molecule, stated, unpaired, of: Options) -> dict:
  """Returns fields of `Raw`; adds the hydrogens that are implicit."""
  import numpy as np
  from rdkit import Chem

  charge = Chem.GetFormalCharge(molecule)
  if stated not in (None, charge):
    raise RecordError(
      f'column {of.charge!r} has {stated}, and the bonds and charges of the '
      f'atoms give {charge}'
    )
  if unpaired is None:
    unpaired = sum(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())
  full = Chem.AddHs(molecule, addCoords=True)
  coords = full.GetConformer().GetPositions()
  if not np.isfinite(coords).all():
    raise RecordError('RDKit finds no places for the missing hydrogens')
  notes = []
  added = full.GetNumAtoms() - molecule.GetNumAtoms()
  if added:
    notes.append(f'{added} hydrogens added')
  Chem.AssignStereochemistryFrom3D(full)
  smiles = Chem.MolToSmiles(Chem.RemoveHs(full))
  if '.' in smiles:
    notes.append(f'{smiles.count(".") + 1} molecules together')
  return {
    'numbers': np.array([a.GetAtomicNum() for a in full.GetAtoms()], np.int32),
    'coords': coords,
    'smiles': smiles,
    'charge': charge,
    'unpaired': unpaired,
    'notes': '; '.join(notes),
  }
