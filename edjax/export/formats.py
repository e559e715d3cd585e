"""The formats of exported fields by name."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edjax.export import ccp4, cube, dx, page
from edjax.export.structure import write_pdb
from edjax.export.volume import Volume
from edjax.runtime import atomic_files


def _write_npz(path, volume: Volume) -> None:
  """Writes the arrays of a field, as NumPy reads them."""
  with pathlib.Path(path).open('wb') as file:
    np.savez_compressed(
      file,
      name=volume.name,
      unit=volume.unit,
      about=volume.about,
      values_XYZ=volume.values_XYZ,
      origin_3=volume.box.origin_3,
      steps_33=np.eye(3) * volume.box.spacing,
      numbers_A=volume.numbers_A,
      coords_A3=volume.coords_A3,
    )


# Formats of one file for each field.
_OF_A_FIELD: Mapping[str, Callable] = {
  'ccp4': ccp4.write,
  'cube': cube.write,
  'dx': dx.write,
  'npz': _write_npz,
}
# Files of these have no atoms.
_WITHOUT_ATOMS = ('ccp4', 'dx')
_PAGE = 'html'
FORMATS = (*_OF_A_FIELD, _PAGE)


def check(formats: Sequence[str]) -> None:
  """Raises ValueError for no format, or an unknown one."""
  for name in formats:
    if name not in FORMATS:
      raise ValueError(f'unknown format {name!r}; there are {_names()}')
  if not formats:
    raise ValueError(f'no format; there are {_names()}')


def write(
  directory: str | os.PathLike,
  stem: str,
  found: Sequence[Volume],
  formats: Sequence[str],
) -> list[str]:
  """Writes the fields of a molecule, each file at once.

  Args:
    directory: of the files, which exists.
    stem: begins their names: STEM.FIELD.ccp4, .cube, .dx and .npz for each
      field; STEM.html with all of them; STEM.pdb with the atoms, where a format
      has none.
    found: of `volumes`.
    formats: names of FORMATS.

  Returns:
    Names of the files.

  Raises:
    ValueError: an unknown format, or coordinates that PDB files cannot hold.
    OSError: a file cannot be written.
  """
  check(formats)
  directory, names = pathlib.Path(directory).expanduser(), []

  def add(name: str, writer: Callable, *arguments) -> None:
    with atomic_files.replacing(directory / name) as part:
      writer(part, *arguments)
    names.append(name)

  first = found[0]
  if set(_WITHOUT_ATOMS) & set(formats):
    add(
      f'{stem}.pdb',
      lambda part: write_pdb(
        part, first.numbers_A, first.coords_A3, groups_A=first.groups_A
      ),
    )
  for kind in _OF_A_FIELD:
    if kind in formats:
      for volume in found:
        add(f'{stem}.{volume.name}.{kind}', _OF_A_FIELD[kind], volume)
  if _PAGE in formats:
    add(f'{stem}.{_PAGE}', page.write, stem, found)
  return names


def _names() -> str:
  return ', '.join(FORMATS)
