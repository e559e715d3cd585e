"""Molecules of tables with a column of SMILES."""

import pathlib
from collections.abc import Iterator

from data_builders.own import columns, tables
from data_builders.own.types import Options, Raw, RecordError


def read(path, options: Options) -> Iterator[Raw]:
  """Reads a table with a column of SMILES; see `sources.read`."""
  path = pathlib.Path(path)
  return of_table(path, tables.read(path), options)


def of_table(
  path: pathlib.Path, table: tables.Table, options: Options
) -> Iterator[Raw]:
  """Yields the molecules of a table with a column of SMILES.

  Args:
    path: of the table, for messages and ids.
    table: its rows.
    options: see `sources.read`.

  Raises:
    ValueError: there is no such column.
  """
  of = columns.found(table.names, options, str(path))
  if not of.smiles:
    raise ValueError(
      f'{path} has no column of SMILES (named smiles, or by '
      f'config.data.smiles_column); it has {columns.listed(table.names)}'
    )
  rows = [row.values for row in table.rows]
  ids = columns.ids(rows, of.id, path.name.partition('.')[0])
  for index, (row, example_id) in enumerate(
    zip(table.rows, ids, strict=True), 1
  ):
    raw = Raw(example_id, index, row.where, values=row.values)
    try:
      if row.problem:
        raise RecordError(row.problem)
      yield raw._replace(**_molecule(row.values, of))
    except RecordError as error:
      yield raw._replace(problem=str(error))


def _molecule(values, of: Options) -> dict:
  """Returns fields of `Raw`: SMILES, charge, unpaired electrons.

  Raises:
    RecordError: RDKit cannot read it, it is several molecules or has no heavy
      atom or an unknown one, or the charge is another one than that of the
      column.
  """
  from rdkit import Chem, rdBase

  text = columns.text_of(values, of.smiles)
  if not text:
    raise RecordError(f'column {of.smiles!r} is empty')
  with rdBase.BlockLogs():
    molecule = Chem.MolFromSmiles(text)
  if molecule is None:
    raise RecordError(f'RDKit cannot read the SMILES {text!r}')
  if not molecule.GetNumAtoms():
    raise RecordError(f'the SMILES {text!r} has no atoms')
  if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
    raise RecordError(f'the SMILES {text!r} has an atom that is no element')
  smiles = Chem.MolToSmiles(molecule)
  if '.' in smiles:
    raise RecordError(
      f'the SMILES {text!r} is several molecules (a salt or a mixture), whose '
      'places in space it does not tell: leave the one that was measured'
    )
  charge = Chem.GetFormalCharge(molecule)
  stated = columns.whole(values, of.charge)
  if stated not in (None, charge):
    raise RecordError(
      f'column {of.charge!r} has {stated}, and the charge of {text!r} is '
      f'{charge}'
    )
  unpaired = columns.whole(values, of.unpaired)
  if unpaired is None:
    unpaired = sum(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())
  return {'smiles': smiles, 'charge': charge, 'unpaired': unpaired}
