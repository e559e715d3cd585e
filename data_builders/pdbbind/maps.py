"""Cubes of experimental maps about the ligands, and their limits."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_builders.density_maps import crystal_maps
from data_builders.pdbbind.readers import structure as structures
from data_builders.pdbbind.readers import types
from edjax import datasets

_SETTINGS = datasets.DATASETS['pdbbind'].settings


class Options(NamedTuple):
  """How maps are read, and which are left out.

  Attributes:
    periodic: see `crystal_maps.read_map`; None: by map and model.
    columns: of coefficients with other names, or None.
    min_coverage: of the asymmetric unit.
    max_missing: share of a cube without data.
    min_at_atoms: mean at the heavy atoms of ligand and pocket, sd.
  """

  periodic: bool | None = None
  columns: tuple[str, str] | None = None
  min_coverage: float = _SETTINGS['min_map_coverage']
  max_missing: float = _SETTINGS['max_map_missing']
  min_at_atoms: float = _SETTINGS['min_map_at_atoms']


def options(settings: Mapping[str, Any]) -> Options:
  """Returns what settings of `datasets.Dataset` say of maps."""
  return Options(
    periodic={'': None, 'yes': True, 'no': False}[settings['map_periodic']],
    columns=settings['map_columns'] or None,
    min_coverage=settings['min_map_coverage'],
    max_missing=settings['max_map_missing'],
    min_at_atoms=settings['min_map_at_atoms'],
  )


def cube(
  files: types.Files,
  centre,
  coords,
  edge: float,
  spacing: float,
  options: Options,
) -> tuple[np.ndarray, float, dict[str, Any]]:
  """Cuts a cube out of the map of a complex.

  Args:
    files: of the complex.
    centre: [3] Å, of the cube.
    coords: [A, 3] Å, heavy atoms of ligand and pocket.
    edge: Å, that the cube has to hold.
    spacing: Å, at most.
    options: limits.

  Returns:
    [M, M, M] float32 in sd, Å between its points, and columns of the manifest.

  Raises:
    types.ComplexError: there is no map, or it cannot be used; the message names
      the file and, for limits, the field of the configuration.
  """
  if files.density_map is None:
    raise types.ComplexError(
      f'no map: put {files.pdb_id}.ccp4 or .mtz into the manual directory'
      f'{_others(files)}'
    )
  try:
    crystal_map = read(files, coords, options)
    spacing = min(spacing, crystal_map.spacing)
    found = crystal_maps.cut_cube(crystal_map, centre, edge, spacing)
    at_atoms = check(crystal_map, found.missing, coords, options)
  except ValueError as error:
    raise types.ComplexError(str(error)) from error
  row = {
    'map_missing': round(found.missing, 4),
    'map_at_atoms': round(at_atoms, 3),
  }
  return found.values, spacing, row


def check(
  crystal_map,
  missing: float,
  coords,
  options: Options,
  *,
  region: str = 'the cube about the ligand',
  model: str = 'ligand and pocket',
) -> float:
  """Checks a map by its limits.

  Args:
    crystal_map: the map.
    missing: share of a region without data.
    coords: [A, 3] Å, atoms of its model.
    options: the limits.
    region: that `missing` is of, for the message.
    model: what the atoms are, for the message.

  Returns:
    The mean at the atoms, sd.

  Raises:
    ValueError: the map is beyond a limit; the message names the field.
  """
  if missing > options.max_missing:
    raise ValueError(
      f'{crystal_map.source}: {missing:.0%} of {region} have no map, more than '
      'config.data.max_map_missing='
      f'{options.max_missing:g}'
    )
  at_atoms = crystal_maps.mean_at(crystal_map, coords)
  if not at_atoms >= options.min_at_atoms:
    raise ValueError(
      f'{crystal_map.source}: {at_atoms:.2f} sd on average at the atoms of '
      f'{model}, less than config.data.min_map_at_atoms='
      f'{options.min_at_atoms:g}: is it of another crystal or frame, or a map '
      'of differences?'
    )
  return at_atoms


def _others(files: types.Files) -> str:
  """Returns names of maps and coefficients in the model's folder."""
  path = files.structure or files.protein or files.ligand_sdf
  if not path:
    return ''
  names = [
    one.name
    for one in sorted(path.parent.iterdir())
    if one != path and crystal_maps.is_map(one)
  ]
  return f'; {path.parent} has {", ".join(names[:5])}' if names else ''


def read(files: types.Files, coords, options: Options):
  """Reads a map, with what the model's file says of its crystal.

  Args:
    files: of the complex; the cell is that of the entry or the protein.
    coords: [A, 3] Å, atoms of the model, see `crystal_maps.settled`.
    options: how to read it; columns count for coefficients, periodic for other
      files.

  Returns:
    `crystal_maps.CrystalMap`.

  Raises:
    ValueError: see `crystal_maps.read_map`.
  """
  cell, periodic = None, options.periodic
  if path := files.structure or files.protein:
    model = structures.read(path)
    cell = model.cell if model.cell.is_crystal() else None
    if periodic is None and crystal_maps.is_of_microscope(model):
      periodic = False
  of_coefficients = crystal_maps.has_coefficients(files.density_map)
  crystal_map = crystal_maps.read_map(
    files.density_map,
    columns=options.columns if of_coefficients else None,
    periodic=None if of_coefficients else periodic,
    min_coverage=options.min_coverage,
    cell=cell,
  )
  return crystal_maps.settled(crystal_map, coords)
