"""Molecules of files; `molecule.read` is another name of `read`.

The readers are those of the datasets, and are imported where they are needed.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from edjax.chem import toolkits
from edjax.molecule import Molecule


def read(path, **keywords) -> Molecule:
  """Reads the first or only molecule of a file.

  Args:
    path: XYZ or extended XYZ; SDF, MOL or mol2; PDB or mmCIF (all atoms of the
      first model, of alternative locations the one with the highest occupancy,
      with B factors); or a Gaussian cube file of a density, which becomes the
      molecule's `density_map`. Each may be gzipped.
    **keywords: of `Molecule.from_arrays`.

  Returns:
    The molecule. Atoms are those of the file.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is of an unknown kind, damaged, or without a geometry in
      space; an SDF, MOL or mol2 file lacks hydrogens; a cell is periodic. The
      message names the file.
  """
  from data_builders.own import folders

  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise FileNotFoundError(f'there is no file {path}')
  suffix = folders.suffix(path)
  if suffix not in _READERS:
    raise ValueError(
      f'{path} is of no known kind: {", ".join(_READERS)} (.gz too)'
    )
  arrays = _READERS[suffix](path, suffix)
  with _naming(path):
    return Molecule.from_arrays(**{**arrays, **keywords})


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error


def _xyz(path, suffix) -> dict[str, Any]:
  del suffix
  import io

  import ase.io

  from data_builders.own import xyz

  text = xyz.split(path)[0]
  with _naming(path):
    try:
      atoms = ase.io.read(io.StringIO(text), index=0, format='extxyz')
    except Exception as error:  # whatever ASE's parser meets
      raise ValueError(f'ASE cannot read its first frame ({error})') from error
    numbers_A, coords_A3 = toolkits.of_ase(atoms)
  return {'numbers': numbers_A, 'coords': coords_A3}


def _molblock(path, suffix) -> dict[str, Any]:
  from data_builders.own import molblocks
  from data_builders.pdbbind.readers import molfile

  kind = molblocks.KINDS[suffix]
  text = molblocks.split(path, kind)[0]
  record = molfile.parse(text, kind, f'{path.name}, record 1')
  with _naming(path):
    if record.molecule is not None:
      toolkits.check_complete(record.molecule)
    elif not (record.numbers == 1).any():
      raise ValueError(
        f'it has no hydrogens, and RDKit refuses its bonds ({record.refusal}), '
        'so that they cannot be added: correct the bonds'
      )
  return {'numbers': record.numbers, 'coords': record.coords}


def _structure(path, suffix) -> dict[str, Any]:
  del suffix
  from data_builders.pdbbind.readers import structure as structures

  chosen = []
  for chain in structures.read(path)[0]:
    places = {}  # residues of one place in the chain are alternatives
    for residue in chain:
      places.setdefault(str(residue.seqid), []).extend(residue)
    for atoms in places.values():
      label = structures.best_alternative(atoms)
      chosen += [a for a in atoms if a.altloc in (structures.NO_LABEL, label)]
  atoms = structures.arrays_of(chosen, path.name)
  return {
    'numbers': atoms.numbers,
    'coords': atoms.coords,
    'b_factors': atoms.b_factors,
  }


def _cube(path, suffix) -> dict[str, Any]:
  del suffix
  from data_builders import cube_files

  cube = cube_files.read_cube(path)
  return {
    'numbers': cube.numbers,
    'coords': cube.coords,
    'density_map': cube.density_map,
  }


_READERS = {
  **dict.fromkeys(('.xyz', '.extxyz'), _xyz),
  **dict.fromkeys(('.sdf', '.sd', '.mol', '.mol2'), _molblock),
  **dict.fromkeys(('.pdb', '.ent', '.cif', '.mmcif'), _structure),
  **dict.fromkeys(('.cube', '.cub'), _cube),
}
