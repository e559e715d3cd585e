"""A folder of files with a molecule each, and a table of their values."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from data_builders import cube_files
from data_builders.own import columns, molblocks, tables, xyz
from data_builders.own.types import Options, Raw, RecordError
from edjax.runtime import reading

XYZ = ('.xyz', '.extxyz')
# Files of densities: with their atoms, and without.
CUBES = ('.cube', '.cub')
MAPS = ('.ccp4', '.map', '.mrc', '.mtz')
_MOLECULES = '.xyz, .sdf, .mol, .mol2, .cube'


class Contents(NamedTuple):
  """The files of a folder.

  Attributes:
    molecules: name without suffix -> the file with the atoms.
    densities: name without suffix -> the file with the density.
    table: of values, or None.
  """

  molecules: dict[str, pathlib.Path]
  densities: dict[str, pathlib.Path]
  table: pathlib.Path | None


def read(folder, options: Options, densities: bool = False) -> Iterator[Raw]:
  """Reads the molecules of a folder, in order of their names.

  A table in the folder has a row for each: its ids are the names of the files
  without suffix. Without a table the values are those of the files.

  Args:
    folder: files with a molecule each, and one table or none.
    options: see `sources.read`.
    densities: see `sources.read`.
  """
  folder = pathlib.Path(folder)
  files, of_density, table = contents(folder, densities)
  rows, of = {}, Options()
  if table is not None:
    rows, of = _by_id(table, options)
  names = dict.fromkeys([*files, *(of_density if densities else ())])
  missing = sorted(rows.keys() - names.keys())
  for index, stem in enumerate(names, 1):
    path, density = files.get(stem), of_density.get(stem)
    raw = Raw(stem, index, (path or density).name)
    if table is not None and stem not in rows:
      yield raw._replace(problem=f'no row of {table.name} has the id {stem!r}')
    elif path is None:
      problem = f'it has no atoms, and there is no {stem} ({_MOLECULES})'
      yield raw._replace(problem=problem)
    elif densities and density is None:
      problem = f'{folder} has no density {stem} ({", ".join((*CUBES, *MAPS))})'
      yield raw._replace(problem=problem)
    else:
      raw = raw._replace(density=str(density) if densities else '')
      yield _molecule(raw, path, rows.get(stem), of, options)
  for index, stem in enumerate(missing, len(names) + 1):
    row = rows[stem]
    problem = f'{folder} has no file named {stem} ({_MOLECULES})'
    yield Raw(stem, index, row.where, values=row.values, problem=problem)


def read_cube(path, options: Options, densities: bool = False) -> list[Raw]:
  """Reads a cube file as a source of one molecule; see `sources.read`."""
  path = pathlib.Path(path)
  raw = Raw(stem_of(path), 1, path.name, density=str(path) if densities else '')
  return [_molecule(raw, path, None, Options(), options)]


def contents(folder, densities: bool = False) -> Contents:
  """Returns the files of a folder.

  A cube is the file with the atoms where there is no other.

  Args:
    folder: with files in it and below.
    densities: whether densities are read; otherwise those that have no atoms
      or are not alone do not matter.

  Raises:
    ValueError: there is no molecule, there are several tables, or two files of
      one name, or densities are missing or in two units.
  """
  folder = pathlib.Path(folder)
  files, cubes, maps, others, found = {}, {}, {}, [], []
  for path in reading.below(folder).files:
    kind = suffix(path)
    if kind in tables.SUFFIXES:
      found.append(path)
    elif kind in (*XYZ, *molblocks.KINDS):
      _add(files, path, folder)
    elif kind in (*CUBES, *MAPS):
      others.append(path)
  for path in others:
    place = cubes if suffix(path) in CUBES else maps
    if densities or (place is cubes and stem_of(path) not in files):
      _add(place, path, folder)
    else:
      place.setdefault(stem_of(path), path)
  if len(found) > 1:
    raise ValueError(
      f'{folder} has several tables ({columns.listed(p.name for p in found)}): '
      'leave the one with the values'
    )
  if not files and not cubes:
    raise ValueError(
      'no .xyz, .extxyz, .sdf, .mol, .mol2 or .cube file: '
      f'{reading.found_in(folder)}'
    )
  if densities and not cubes and not maps:
    raise ValueError(without_densities(folder))
  if densities and cubes and maps:
    names = [next(iter(x.values())).name for x in (cubes, maps)]
    raise ValueError(
      f'{folder} has densities in e/Å^3 ({names[0]}) and in standard '
      f'deviations ({names[1]}), which one network cannot learn from: leave '
      'one kind'
    )
  table = found[0] if found else None
  return Contents(
    files | {k: v for k, v in cubes.items() if k not in files},
    maps | cubes,
    table,
  )


def without_densities(source) -> str:
  """Says that a source has no densities, and what has."""
  return (
    f'{source} has no densities, which the input of this run is made of '
    "(config.representation.density='map'): name a folder of ID.cube files, or "
    'of ID.sdf (.mol, .mol2, .xyz) with ID.cube, .ccp4, .map, .mrc or .mtz'
  )


def _add(files: dict, path: pathlib.Path, folder) -> None:
  stem = stem_of(path)
  if stem in files:
    raise ValueError(
      f'{folder} has {files[stem].name} and {path.name}, which have one '
      'name: leave one of them'
    )
  files[stem] = path


def stem_of(path: pathlib.Path) -> str:
  """Returns the name without suffix, and without that of gzip."""
  return path.name.removesuffix('.gz').rpartition('.')[0]


def suffix(path: pathlib.Path) -> str:
  """Returns the suffix in lower case, without that of gzip."""
  return pathlib.Path(path.name.lower().removesuffix('.gz')).suffix


def _by_id(path, options) -> tuple[dict[str, tables.Row], Options]:
  table = tables.read(path)
  of = columns.found(table.names, options, str(path))
  if not of.id:
    raise ValueError(
      f"{path} has no column of ids, the files' names without suffix (named "
      f'id, or by config.data.id_column); it has {columns.listed(table.names)}'
    )
  rows = {}
  for row in table.rows:
    stem = columns.text_of(row.values, of.id)
    if stem in rows:
      raise ValueError(f'{row.where}: the id {stem!r} has an earlier row, too')
    rows[stem] = row
  return rows, of


def _molecule(raw: Raw, path, row, of: Options, options: Options) -> Raw:
  """Reads a file; `row` is the table's, None where there is no table."""
  try:
    kind = molblocks.KINDS.get(suffix(path))
    if kind:
      records = molblocks.split(path, kind)
      if len(records) != 1:
        raise RecordError(f'holds {len(records)} records, not one')
      values, molecule = molblocks.properties(records[0]), records[0]
    elif suffix(path) in CUBES:
      values, molecule = {}, _atoms(path)
    else:
      values, molecule = xyz.read_one(path)
    if row is None:
      of = columns.found(values, options, str(path))
    else:
      values = values | row.values
    raw = raw._replace(values=values)
    if row is not None and row.problem:
      raise RecordError(f'{row.where}: {row.problem}')
    if kind:
      return molblocks.with_molecule(raw, molecule, kind, of)
    return xyz.with_molecule(raw, molecule, of)
  except ValueError as error:
    return raw._replace(problem=str(error))


def _atoms(path):
  """Returns the atoms of a cube as ASE has them."""
  import ase

  return ase.Atoms(*cube_files.read_atoms(path))
