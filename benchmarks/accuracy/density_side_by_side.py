"""Compares computed and experimental densities of one complex.

The fields are on one grid around the ligand's centre, its long axes along the
grid's:

- map: the experimental map;
- promolecule: ligand and pocket as a network sees them, all atoms with the B
  that suits the grid;
- low-passed: all atoms of the crystal with that B, symmetry mates and waters
  too, Fourier components beyond the map's resolution cut off;
- low-passed (file B): the same with the B factors of the file;
- xtb: valence density of the ligand alone (GFN2-xTB), which needs a file with
  its bonds for hydrogens and charge.

Run as `python -m benchmarks.accuracy.density_side_by_side --help`.
"""

import argparse
import itertools
import pathlib
from typing import NamedTuple

import numpy as np

from data_builders import xtb
from data_builders.density_maps import ccp4_mtz, crystal_maps
from data_builders.pdbbind import maps
from data_builders.pdbbind.readers import ligand as ligand_lib
from data_builders.pdbbind.readers import structure as structure_lib
from data_builders.pdbbind.readers import types, wwpdb
from edjax import fields, geometry
from edjax.chem import form_factors
from edjax.grid import Grid, centres
from edjax.molecule import LIGAND, POCKET, DensityMap, Molecule

# Å from an atom of the ligand within which voxels count as near.
NEAR_A = 2.0
# Å beyond the box from which atoms' tails reach into it.
_TAIL_A = 4.0
# Å between the same atom in two files.
_SAME_A = 0.5
# No bond between heavy atoms of a drug is longer (C-I has 2.1 Å); for lines in
# the figure.
_BOND_A = 2.15


class Comparison(NamedTuple):
  """Fields of one complex on one grid.

  Attributes:
    values: name of the field -> [X, Y, Z].
    coords: [A, 3] Å, the ligand's heavy atoms in the grid's frame.
    grid: the voxels.
    notes: remarks on what was done or left out, with the reason.
  """

  values: dict[str, np.ndarray]
  coords: np.ndarray
  grid: Grid
  notes: tuple[str, ...]

  @property
  def near(self) -> np.ndarray:
    """Returns [X, Y, Z]: voxels within NEAR_A of a heavy atom of the ligand."""
    import scipy.spatial

    tree = scipy.spatial.KDTree(self.coords)
    distance = tree.query(centres(self.grid))[0]
    return (distance <= NEAR_A).reshape((self.grid.size,) * 3)


def compare(
  structure_path,
  ligand_name: str,
  map_path,
  grid: Grid,
  *,
  ligand_sdf=None,
  d_min: float | None = None,
  map_options: maps.Options | None = None,
) -> Comparison:
  """Computes all fields of one complex.

  Args:
    structure_path: PDB or mmCIF file of the whole entry.
    ligand_name: residue name.
    map_path: 2Fo-Fc map or its coefficients.
    grid: voxels around the ligand's heavy-atom centre of mass.
    ligand_sdf: the ligand with bonds, in the structure's frame; without it,
      there is no xtb.
    d_min: resolution of the map, Å; by default from an MTZ file, else from the
      structure.
    map_options: how to read the map, and its limits; None: the defaults.

  Returns:
    The comparison.

  Raises:
    ValueError: a file cannot be used, the ligand is not there or is elsewhere
      in the sdf file, or nothing says the resolution.
  """
  map_options = map_options or maps.Options()
  diagonal = np.sqrt(3) * grid.extent
  ligand, pocket = wwpdb.split_entry(
    structure_path, ligand_name, diagonal / 2 + _TAIL_A
  )
  ligand_atoms = ligand_lib.heavy(ligand.atoms)
  centre_3 = ligand_lib.centre(ligand_atoms)
  structure = structure_lib.read(structure_path)
  turn = _principal_axes(ligand_atoms.coords - centre_3)
  measured = maps.read(
    types.Files(
      structure.name,
      structure=pathlib.Path(structure_path),
      density_map=pathlib.Path(map_path),
    ),
    np.concatenate([ligand_atoms.coords, pocket.atoms.coords]),
    map_options,
  )
  d_min = d_min or _resolution(measured, structure)
  blur = form_factors.tied_b_iso(grid.spacing)

  sizes = len(ligand_atoms.numbers), len(pocket.atoms.numbers)
  numbers = np.concatenate([ligand_atoms.numbers, pocket.atoms.numbers])
  coords = np.concatenate([ligand_atoms.coords, pocket.atoms.coords])
  groups = np.repeat([LIGAND, POCKET], sizes)
  notes = [
    *(f'{ligand.source}: {problem}' for problem in ligand.problems),
    f'{sizes[0]} atoms of the ligand, {sizes[1]} of the pocket',
    f'{grid.size}^3 voxels of {grid.spacing} Å; B = {blur:.2f} Å^2',
    f'resolution {d_min:.2f} Å',
  ]

  def sampled(crystal_map):
    # Finer than the map, so that the second interpolation costs little.
    cube = crystal_maps.cut_cube(
      crystal_map, centre_3, diagonal, crystal_map.spacing / 2
    )
    mol = geometry.rotate(
      Molecule.from_arrays(
        numbers, coords, groups=groups, density_map=DensityMap(*cube[:3])
      ),
      turn,
    )
    return np.asarray(fields.map_density_grid(mol, grid)), mol, cube.missing

  values = {}
  values['map'], mol, missing = sampled(measured)
  maps.check(measured, missing, coords, map_options)
  if missing:
    notes.append(f'{missing:.1%} of the cube around the box have no map')
  values['promolecule'] = np.asarray(fields.promolecule_grid(mol, grid))
  for name, b_factor in [('low-passed', blur), ('low-passed (file B)', None)]:
    computed = calculated_map(structure, d_min, b_factor)
    values[name] = sampled(computed)[0]
  if ligand_sdf is None:
    notes.append('no xtb: it needs the ligand with its bonds (--ligand_sdf)')
  else:
    values['xtb'], note = _xtb(ligand_sdf, ligand_atoms, centre_3, turn, grid)
    notes.append(note)
  n_ligand = sizes[0]
  return Comparison(
    values, np.asarray(mol.coords_A3[:n_ligand]), grid, tuple(notes)
  )


def calculated_map(
  structure, d_min: float, b_factor: float | None = None
) -> crystal_maps.CrystalMap:
  """Computes the density of all atoms of a crystal, up to a resolution.

  gemmi adds up the atoms' densities (IT92) with all symmetry mates in the unit
  cell, and keeps the Fourier components with wavelengths of d_min and more. The
  map has no hydrogens and no bulk solvent.

  Args:
    structure: gemmi.Structure with a unit cell; its first model is used, with
      all alternative locations at their occupancies.
    d_min: Å.
    b_factor: one B in Å^2 for all atoms; None: those of the file.

  Returns:
    The map, in sigma.

  Raises:
    ValueError: the structure has no unit cell or space group.
  """
  import gemmi

  if not structure.cell.is_crystal() or structure.find_spacegroup() is None:
    raise ValueError(f'{structure.name}: no unit cell or no space group')
  structure = structure.clone()
  structure.remove_hydrogens()
  model = structure[0]
  if b_factor is not None:
    for site in model.all():
      site.atom.b_iso = b_factor
      site.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
  calculator = gemmi.DensityCalculatorX()
  calculator.d_min = d_min
  calculator.rate = 2  # with the blur, as exact as direct summation to 1e-4
  calculator.set_refmac_compatible_blur(model)
  calculator.grid.setup_from(structure)
  calculator.put_model_density_on_grid(model)
  transformed = gemmi.transform_map_to_f_phi(calculator.grid, half_l=True)
  resolved = transformed.prepare_asu_data(dmin=d_min, unblur=calculator.blur)
  grid = resolved.transform_f_phi_to_map(sample_rate=ccp4_mtz.SAMPLE_RATE)
  return crystal_maps.of_crystal(grid, 'sigma', d_min, 'calculated map')


def correlations(values: dict, mask: np.ndarray | None = None) -> np.ndarray:
  """Computes Pearson's correlation coefficients of all pairs of fields.

  Args:
    values: name -> [X, Y, Z].
    mask: [X, Y, Z] of the voxels that count; None for all.

  Returns:
    [number of fields, number of fields].
  """
  rows = [v.ravel() if mask is None else v[mask] for v in values.values()]
  return np.corrcoef(np.asarray(rows, np.float64))


def table(comparison: Comparison) -> str:
  """Returns the correlations as Markdown: over the box, and near the ligand."""
  names = list(comparison.values)
  everywhere = correlations(comparison.values)
  near = correlations(comparison.values, comparison.near)
  lines = [
    f'| field | and field | box | within {NEAR_A:g} Å of the ligand |',
    '|---|---|---|---|',
  ]
  for i, j in itertools.combinations(range(len(names)), 2):
    figures = f'{everywhere[i, j]:.3f} | {near[i, j]:.3f}'
    lines.append(f'| {names[i]} | {names[j]} | {figures} |')
  return '\n'.join(lines)


def draw(comparison: Comparison, path) -> None:
  """Draws slices through the centre, across the third and the second axis.

  Each field has its own scale of grey. Atoms of the ligand within 1 Å of a
  slice are filled.

  Args:
    comparison: fields of a complex.
    path: of a PNG file.
  """
  import matplotlib.figure  # no pyplot: nothing to display, no global state

  size, half = comparison.grid.size, comparison.grid.extent / 2
  middle = slice((size - 1) // 2, size // 2 + 1)  # one layer, or two
  figure = matplotlib.figure.Figure(
    figsize=(2.9 * len(comparison.values), 6), layout='constrained'
  )
  panels = figure.subplots(2, len(comparison.values), squeeze=False)
  for column, (name, values) in enumerate(comparison.values.items()):
    panels[0, column].set_title(name)
    for row, across in enumerate((2, 1)):
      axis = panels[row, column]
      layer = np.take(values, np.arange(size)[middle], axis=across)
      axis.imshow(
        layer.mean(axis=across).T, origin='lower', cmap='gray_r',
        extent=(-half, half, -half, half),
        vmin=0, vmax=np.quantile(values, 0.998),
      )  # fmt: skip
      _draw_ligand(axis, comparison.coords, across)
      axis.set_xlim(-half, half)
      axis.set_ylim(-half, half)
      axis.set_xticks([])
      axis.set_yticks([])
  figure.savefig(path, dpi=110)


def _draw_ligand(axis, coords_A3, across) -> None:
  x, y = np.delete(coords_A3, across, axis=1).T
  within = np.abs(coords_A3[:, across]) <= 1
  for i, j in itertools.combinations(range(len(coords_A3)), 2):
    if np.linalg.norm(coords_A3[i] - coords_A3[j]) < _BOND_A:
      axis.plot(x[[i, j]], y[[i, j]], color='tab:red', linewidth=0.6)
  axis.plot(x[within], y[within], 'o', color='tab:red', markersize=2.5)


def _resolution(measured, structure) -> float:
  for d_min in (measured.d_min, structure.resolution):
    if d_min > 0:  # NaN and 0: unknown
      return d_min
  raise ValueError(
    f'neither {measured.source} nor {structure.name} says the resolution: '
    'give d_min'
  )


def _principal_axes(coords_A3) -> np.ndarray:
  """Returns the rotation of the longest axis to x and the second to y."""
  axes_33 = np.linalg.svd(coords_A3)[2]
  # Fixes the sign of each axis.
  largest_3 = np.abs(axes_33).argmax(axis=1)
  axes_33 *= np.sign(axes_33[np.arange(3), largest_3])[:, None]
  axes_33[2] = np.cross(axes_33[0], axes_33[1])
  return axes_33


def _xtb(path, ligand_atoms, centre_3, turn, grid):
  """Computes the ligand's valence density; returns a note too."""
  import scipy.spatial

  path = pathlib.Path(path)
  files = types.Files(pdb_id=path.name, ligand_sdf=path)
  ligand = ligand_lib.read_ligand(files)
  heavy = ligand_lib.heavy(ligand.atoms)
  tree = scipy.spatial.KDTree(ligand_atoms.coords)
  distance, _ = tree.query(heavy.coords)
  if len(heavy.numbers) != len(ligand_atoms.numbers) or max(distance) > _SAME_A:
    raise ValueError(
      f'{path}: {len(heavy.numbers)} heavy atoms up to {max(distance):.1f} Å '
      f'from the {len(ligand_atoms.numbers)} of the structure: it is another '
      'ligand, or another copy of it'
    )
  complete, steps = ligand_lib.for_xtb(ligand)
  if complete is None:
    raise ValueError(f'{path}: no hydrogens and charge for xtb ({steps})')
  result = xtb.run(complete.numbers, complete.coords, complete.charge)
  mol = Molecule.from_arrays(
    complete.numbers, complete.coords - centre_3, result.orbitals, center=False
  )
  density = fields.orbital_density_grid(geometry.rotate(mol, turn), grid)
  note = (
    f'xtb: {result.n_electrons:.0f} valence electrons of the ligand, charge '
    f'{complete.charge:+d}, hydrogens: {steps}'
  )
  return np.asarray(density), note


def main(arguments: list[str] | None = None) -> None:
  """Compares one complex: a table on the screen, and one picture."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--structure', required=True, help='PDB or mmCIF')
  parser.add_argument('--ligand', required=True, help='residue name')
  parser.add_argument('--map', required=True, help='CCP4, MRC, MTZ or SF-mmCIF')
  parser.add_argument('--out', required=True, type=pathlib.Path, help='folder')
  parser.add_argument('--ligand_sdf', help='the ligand with bonds, for xtb')
  parser.add_argument('--d_min', type=float, help='resolution of the map, Å')
  parser.add_argument('--size', type=int, default=64, help='voxels')
  parser.add_argument('--spacing', type=float, default=0.25, help='Å')
  default = maps.Options()
  parser.add_argument(
    '--periodic', choices=('yes', 'no'), help="whether the map is a crystal's"
  )
  parser.add_argument(
    '--columns', nargs=2, help='amplitudes and phases of the map'
  )
  for name, text in (
    ('min_coverage', 'share of the asymmetric unit that must have data'),
    ('max_missing', 'share of the cube that may lack data'),
    ('min_at_atoms', 'sd, mean of the map at the atoms; -10 allows any'),
  ):
    parser.add_argument(
      f'--{name}', type=float, default=getattr(default, name), help=text
    )
  options = parser.parse_args(arguments)
  map_options = maps.Options(
    periodic={None: None, 'yes': True, 'no': False}[options.periodic],
    columns=options.columns and tuple(options.columns),
    min_coverage=options.min_coverage,
    max_missing=options.max_missing,
    min_at_atoms=options.min_at_atoms,
  )
  comparison = compare(
    options.structure, options.ligand, options.map,
    Grid(options.size, options.spacing),
    ligand_sdf=options.ligand_sdf, d_min=options.d_min,
    map_options=map_options,
  )  # fmt: skip
  options.out.mkdir(parents=True, exist_ok=True)
  name = pathlib.Path(options.structure).name.split('.')[0]
  path = options.out / f'{name}_side_by_side.png'
  draw(comparison, path)
  for note in comparison.notes:
    print(f'- {note}')
  print(f'\n{table(comparison)}\n\n{path}')


if __name__ == '__main__':
  main()
