"""Complexes: atoms, orbitals and the manifest's row from the files of one."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_builders import xtb
from data_builders.pdbbind import maps as maps_lib
from data_builders.pdbbind.readers import ligand as ligands
from data_builders.pdbbind.readers import pocket as pockets
from data_builders.pdbbind.readers import types
from data_builders.support import download
from edjax import datasets

# Å about the ligand's centre: half the diagonal of the largest box of the
# configurations (24 Å), and 3 Å for the tails of atoms outside.
RADIUS = datasets.DATASETS['pdbbind'].radius
# Heavy atoms nearer to each other than this, Å, are an error of the file: their
# shortest bond has 1.1 Å.
_COINCIDENT = 0.5
# Edge of that box, Å.
BOX = 24.0
# Å between the points of the cubes of maps; less where the points of the map
# itself are closer.
MAP_SPACING = 0.5


class Options(NamedTuple):
  """Contents of a dataset of complexes.

  Attributes:
    hydrogens: whether to keep the hydrogens of ligand and pocket.
    orbitals: whether to compute GFN2-xTB orbitals of the ligand, which then has
      its hydrogens.
    maps: whether to store cubes of experimental maps about the ligand.
    settings: see `datasets.Dataset`.
  """

  hydrogens: bool = False
  orbitals: bool = False
  maps: bool = False
  settings: Mapping[str, Any] = datasets.DATASETS['pdbbind'].settings


def options_of(variant: str, settings: Mapping[str, Any]) -> Options:
  """Returns the contents of a variant of the dataset, with its settings."""
  return Options(
    hydrogens=variant == 'hydrogens',
    orbitals=variant == 'orbitals',
    maps=variant == 'maps',
    settings=settings,
  )


class Complex(NamedTuple):
  """A complex as stored in the dataset.

  Attributes:
    entry: its row of the index.
    numbers: [A] int32; the ligand first, its hydrogens after its heavy atoms.
    coords: [A, 3] Å, the frame of the files.
    b_factors: [A] Å^2.
    n_ligand: number of atoms of the ligand.
    orbitals: [O, n_ligand, 4 or 9] of the ligand; O = 0 where there are none.
    map_values: [M, M, M] float32 about the ligand's centre, in sigma; M = 0
      where there is none.
    map_spacing: Å.
    descriptors: of the ligand, for baselines.
    sequences: of the pocket's chains.
    row: for the manifest.
  """

  entry: types.Entry
  numbers: np.ndarray
  coords: np.ndarray
  b_factors: np.ndarray
  n_ligand: int
  orbitals: np.ndarray
  map_values: np.ndarray
  map_spacing: float
  descriptors: dict[str, float]
  sequences: dict[str, str]
  row: dict[str, Any]


def read(files: types.Files, entry: types.Entry, options: Options) -> Complex:
  """Reads a complex and, where the options say so, runs GFN2-xTB on its ligand.

  Args:
    files: of the complex.
    entry: its row of the index.
    options: contents of the dataset.

  Raises:
    types.ComplexError: it is unusable; the message names file and reason.
  """
  if files.ligand_sdf or files.ligand_mol2:
    ligand = ligands.read_ligand(files)
    _check_heavy(ligand)
    pocket = pockets.read_pocket(
      files,
      ligands.centre(ligand.atoms),
      RADIUS,
      ligand.atoms,
      hydrogens=options.hydrogens,
    )
  else:
    from data_builders.pdbbind.readers import wwpdb

    ligand, pocket = wwpdb.split_entry(
      files.structure, entry.ligand, RADIUS, hydrogens=options.hydrogens
    )
  limits = options.settings['min_contact'], options.settings['max_clashes']
  pockets.check_contact(ligand, pocket, *limits)
  row = {
    'ligand_file': ligand.source,
    'pocket_file': pocket.source,
    'pocket_atoms': len(pocket.atoms.numbers),
    'pocket_kept': pocket.kept,
    'pocket_dropped': pocket.dropped,
    'pocket_problems': pocket.problems,
    'shortest_contact': round(pockets.shortest_contact(ligand, pocket), 3),
    'clashes': pockets.clashes(ligand, pocket),
    'box_filled': round(
      pockets.coverage(ligand, pocket, ligands.centre(ligand.atoms), BOX / 2),
      4,
    ),
    **input_hashes(files),
  }
  made = _assemble(
    entry, ligand, files, options, row, pocket.atoms, pocket.sequences
  )
  if not options.maps:
    return made
  return _with_map(made, ligand, files, maps_lib.options(options.settings))


def from_ligand(
  ligand: types.Ligand, entry: types.Entry, options: Options
) -> Complex:
  """Makes a complex without a protein; its arguments match those of `read`."""
  empty = types.Atoms(
    np.zeros(0, np.int32), np.zeros((0, 3)), np.zeros(0), np.zeros(0)
  )
  _check_heavy(ligand)
  row = {'ligand_file': ligand.source}
  return _assemble(
    entry, ligand, types.Files(entry.pdb_id), options, row, empty, {}
  )


def input_hashes(files: types.Files) -> dict[str, str]:
  """Returns SHA-256 in hexadecimal of each file that is there, by field."""
  return {
    f'sha256_{name}': download.file_sha256(path)
    for name, path in zip(files._fields, files, strict=True)
    if isinstance(path, pathlib.Path)
  }


def _with_map(made: Complex, ligand: types.Ligand, files, options) -> Complex:
  """Adds a cube that holds the largest box in every orientation."""
  values, spacing, row = maps_lib.cube(
    files,
    ligands.centre(ligand.atoms),
    made.coords[made.numbers > 1],
    BOX * 3**0.5,
    MAP_SPACING,
    options,
  )
  return made._replace(
    map_values=values, map_spacing=spacing, row=made.row | row
  )


def _check_heavy(ligand: types.Ligand) -> None:
  coords = ligands.heavy(ligand.atoms).coords
  if not len(coords):
    raise types.ComplexError(f'{ligand.source}: no heavy atom')
  distance = np.linalg.norm(coords[:, None] - coords[None], axis=-1)
  np.fill_diagonal(distance, np.inf)
  if distance.min() < _COINCIDENT:
    i, j = np.unravel_index(distance.argmin(), distance.shape)
    raise types.ComplexError(
      f'{ligand.source}: heavy atoms {i + 1} and {j + 1} are '
      f'{distance.min():.3f} Å apart'
    )


def _assemble(entry, ligand, files, options, row, pocket, sequences) -> Complex:
  atoms, orbitals = ligand.atoms, np.zeros((0, 0, 4), np.float32)
  if not options.hydrogens:
    atoms = ligands.heavy(atoms)
  if options.orbitals:
    completed, orbitals, row['xtb'] = _orbitals(ligand, files)
    atoms = completed or atoms
  numbers = np.concatenate([atoms.numbers, pocket.numbers]).astype(np.int32)
  coords = np.concatenate([atoms.coords, pocket.coords])
  heavy = ligands.heavy(ligand.atoms)
  offset = heavy.coords - ligands.centre(ligand.atoms)
  row = {
    'ligand_atoms': len(heavy.numbers),
    'ligand_charge': ligand.formal_charge,
    'ligand_problems': '; '.join(ligand.problems),
    'ligand_reach': round(float(np.linalg.norm(offset, axis=1).max()), 3),
    **row,
  }
  return Complex(
    entry=entry,
    numbers=numbers,
    coords=coords,
    b_factors=np.concatenate([atoms.b_factors, pocket.b_factors]),
    n_ligand=len(atoms.numbers),
    orbitals=orbitals,
    map_values=np.zeros((0, 0, 0), np.float32),
    map_spacing=0.0,
    descriptors=ligands.descriptors(ligand.molecule, ligand.atoms),
    sequences=sequences,
    row=row,
  )


def _orbitals(ligand: types.Ligand, files: types.Files):
  """Returns (atoms with hydrogens or None, orbitals, log of the attempts)."""
  nothing = np.zeros((0, 0, 4), np.float32)
  prepared, log = ligands.for_xtb(ligand, files)
  if prepared is None:
    return None, nothing, f'{log} none'
  try:
    result = xtb.run(prepared.numbers, prepared.coords, prepared.charge)
  except (ValueError, xtb.XtbError) as error:
    return None, nothing, f'{log} failed: {error}'
  zeros = np.zeros(len(prepared.numbers))
  atoms = types.Atoms(prepared.numbers, prepared.coords, zeros, zeros + 1)
  return atoms, result.orbitals, log
