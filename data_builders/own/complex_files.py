"""Files of users' complexes: named in a table, or by the ids in a folder."""

import os
import pathlib
from collections.abc import Collection, Iterator

from data_builders.own import columns, folders, tables
from edjax.data import pdb_ids
from edjax.runtime import reading

# Role of a file -> its kinds, and for each the field of `types.Files`.
_KINDS = {
  'protein': dict.fromkeys(('.pdb', '.ent', '.cif', '.mmcif'), 'protein'),
  'ligand': {
    **dict.fromkeys(('.sdf', '.sd', '.mol'), 'ligand_sdf'),
    '.mol2': 'ligand_mol2',
  },
  'map': dict.fromkeys(folders.MAPS, 'density_map'),
}


def located(source: str | os.PathLike) -> pathlib.Path:
  """Returns the path of a source.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is neither a folder nor a table.
  """
  path = pathlib.Path(source).expanduser()
  if not path.exists():
    raise FileNotFoundError(
      f'there is no {path}; {reading.found_in(path.parent)}'
    )
  if not path.is_dir() and folders.suffix(path) not in tables.SUFFIXES:
    raise ValueError(
      f'{path} is neither a table ({", ".join(tables.SUFFIXES)}) nor a folder '
      'of files ID.pdb and ID.sdf with a table'
    )
  return path


def table_in(folder: pathlib.Path, needed: bool) -> pathlib.Path:
  """Returns the table of a folder; the folder itself where it may lack one."""
  found = [
    path
    for path in sorted(folder.iterdir())
    if folders.suffix(path) in tables.SUFFIXES and path.name[0] != '.'
  ]
  if not found and not needed:
    return folder
  if len(found) != 1:
    has = columns.listed(path.name for path in found)
    raise ValueError(
      f'{folder} must have one table with ids and values, directly in it; it '
      f'has {has} ({reading.found_in(folder)})'
    )
  return found[0]


class InTable:
  """The files of a row whose paths stand in the table."""

  def __init__(self, index: pathlib.Path, names, needed: Collection[str]):
    self._root, self._needed = index.parent, needed
    there = {name.lower() for name in names}
    self._columns = {
      role: columns.named(names, role, str(index))
      for role in _KINDS
      if role in needed or role in there
    }

  def __call__(self, row: tables.Row, name: str) -> dict[str, pathlib.Path]:
    """Returns fields of `types.Files`; ValueError names row and column."""
    del name
    return dict(self._files(row))

  def _files(self, row) -> Iterator[tuple[str, pathlib.Path]]:
    for role, column in self._columns.items():
      text = columns.text_of(row.values, column)
      where = f'{row.where}, column {column!r}'
      if not text and role in self._needed:
        raise ValueError(f'{where}: the cell is empty')
      if not text:
        continue
      path = self._root / pathlib.Path(text).expanduser()
      if not path.is_file():
        raise ValueError(f'{where}: there is no file {path}')
      kinds = _KINDS[role]
      if role == 'map':  # of which the reader knows more kinds
        yield 'density_map', path
      elif folders.suffix(path) in kinds:
        yield kinds[folders.suffix(path)], path
      else:
        raise ValueError(
          f'{where}: {path.name} is none of {", ".join(kinds)} (.gz too)'
        )


class InFolder:
  """The files of a row that have its id as their name."""

  def __init__(self, folder: pathlib.Path, needed: Collection[str]):
    self._folder, self._needed, self._found = folder, needed, {}
    self._stems = {}
    for path in reading.below(folder).files:
      stem = folders.stem_of(path)
      for role, kinds in _KINDS.items():
        if folders.suffix(path) in kinds:
          fields = self._found.setdefault(pdb_ids.key(stem), {})
          fields.setdefault((role, kinds[folders.suffix(path)]), path)
          self._stems.setdefault(pdb_ids.key(stem), stem)

  def ids(self) -> list[str]:
    """Returns the names of files without suffix, sorted.

    Raises:
      ValueError: there is none.
    """
    if not self._stems:
      raise ValueError(
        f'no files ID.pdb and ID.sdf: {reading.found_in(self._folder)}'
      )
    return sorted(self._stems.values())

  def __call__(self, row: tables.Row, name: str) -> dict[str, pathlib.Path]:
    """Returns fields of `types.Files`; ValueError says what is missing."""
    found = self._found.get(pdb_ids.key(name), {})
    for needed in self._needed:
      if not any(role == needed for role, _ in found):
        kinds = ' or '.join(f'{name}{kind}' for kind in _KINDS[needed])
        raise ValueError(f'{row.where}: {self._folder} has no {kinds}')
    return {field: path for (_, field), path in found.items()}
