"""Reads users' files of molecules, by kind."""

import hashlib
import os
import pathlib
from collections.abc import Iterator

from data_builders.own import folders, molblocks, smi, smiles, tables, xyz
from data_builders.own.types import Options, Raw
from data_builders.support.download import file_sha256
from edjax.runtime import reading

_READERS = {
  **dict.fromkeys(('.sdf', '.sd', '.mol'), molblocks.read),
  **dict.fromkeys(tables.SUFFIXES, smiles.read),
  '.smi': smi.read,
  **dict.fromkeys(folders.XYZ, xyz.read),
  **dict.fromkeys(folders.CUBES, folders.read_cube),
}


def read(
  source: str | os.PathLike, options: Options, densities: bool = False
) -> Iterator[Raw]:
  """Reads the molecules of a file or folder.

  Args:
    source: SDF; CSV, TSV or Parquet with a column of SMILES; .smi; XYZ or
      extended XYZ; a Gaussian cube; or a folder of XYZ, SDF, MOL, mol2 and cube
      files with a molecule each and a table of values. All but Parquet may be
      gzipped.
    options: names of columns.
    densities: whether the density of every molecule is in a file: its cube, or
      a cube, CCP4, MRC or MTZ file of its name beside it. xTB, which needs all
      hydrogens, is then not run.

  Returns:
    The records, in order; those that cannot be used have a `problem`.

  Raises:
    ValueError: the source is empty, damaged or of an unknown kind, a column is
      not there, or it has no densities.
    FileNotFoundError: there is no such file.
    OSError: it cannot be read.
  """
  path = located(source)
  if path.is_dir():
    return folders.read(path, options, densities)
  reader = _READERS[folders.suffix(path)]
  if not densities:
    return reader(path, options)
  if reader != folders.read_cube:
    raise ValueError(folders.without_densities(path))
  return reader(path, options, densities)


def located(source: str | os.PathLike) -> pathlib.Path:
  """Returns the path of a source.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is of an unknown kind.
  """
  path = pathlib.Path(source).expanduser()
  if not path.exists():
    raise FileNotFoundError(
      f'there is no {path}; {reading.found_in(path.parent)}'
    )
  if not path.is_dir() and folders.suffix(path) not in _READERS:
    raise ValueError(
      f'{path} is of no known kind: {", ".join(_READERS)} (.gz too), or a '
      'folder of .xyz, .sdf, .mol, .mol2 and .cube files with a table'
    )
  return path


def sha256(source: str | os.PathLike, densities: bool = False) -> str:
  """Returns the SHA-256 of a source's contents, in hexadecimal.

  Of a folder: of the names and contents of the files that are read.

  Args:
    source: see `read`.
    densities: see `read`.
  """
  path = located(source)
  if not path.is_dir():
    return file_sha256(path)
  files, of_density, table = folders.contents(path, densities)
  paths = [*files.values(), *([table] if table else [])]
  if densities:
    paths += [p for k, p in of_density.items() if p != files.get(k)]
  lines = (f'{p.relative_to(path)} {file_sha256(p)}' for p in paths)
  return hashlib.sha256('\n'.join(lines).encode()).hexdigest()


def unread_densities(source: str | os.PathLike) -> int:
  """Counts densities of a source that `read` without densities passes by."""
  path = located(source)
  if path.is_dir():
    return len(folders.contents(path).densities)
  return int(folders.suffix(path) in folders.CUBES)
