"""Draws docs/channels.png and docs/densities.png: all that voxels may hold.

python -m docs.draw_channels
"""

import dataclasses
import io
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib import axes, colors
from matplotlib.figure import Figure
from PIL import Image

from docs import draw_inputs
from edjax import fields, voxelize
from edjax.chem import form_factors
from edjax.fields.channels import CHANNELS, DENSITIES
from edjax.grid import Grid
from edjax.molecule import DensityMap, Molecule

GRID = Grid(size=65, spacing=0.125)  # odd: voxels lie in the molecule's plane
# HOMO and LUMO of a planar molecule vanish in its plane: drawn above it, Å.
HEIGHT = {'homo': 0.625, 'lumo': 0.625}
B_ISO = form_factors.tied_b_iso(0.25)  # of free atoms and cores, Å^2
MAP_GRID, MAP_B_ISO = Grid(size=32, spacing=0.4), 30.0
FOLDER = pathlib.Path(__file__).parent
# Sources of density take the place of the channel 'density'.
SHEETS = {
  FOLDER / 'channels.png': (tuple(n for n in CHANNELS if n != 'density'), 5),
  FOLDER / 'densities.png': (tuple(DENSITIES), 4),
}


def with_map(mol: Molecule) -> Molecule:
  """Adds a map like that of an experiment: blurred atoms, in sigma."""
  values_XYZ = fields.promolecule_grid(mol, MAP_GRID, b_iso=MAP_B_ISO)
  half = MAP_GRID.spacing * (MAP_GRID.size - 1) / 2
  density_map = DensityMap(
    (values_XYZ - values_XYZ.mean()) / values_XYZ.std(),
    np.full(3, -half, np.float32),
    np.eye(3, dtype=np.float32) * MAP_GRID.spacing,
  )
  return dataclasses.replace(mol, density_map=density_map)


def plane(mol: Molecule, name: str) -> tuple[np.ndarray, str, bool]:
  """Evaluates a field in a plane through the molecule.

  Args:
    mol: with all that the field needs.
    name: of a channel or of a source of density.

  Returns:
    values_CYX, their unit, and whether they may be below 0.
  """
  kind, density, signed = name, 'xtb', False
  if name in DENSITIES:
    kind, density, signed = 'density', name, DENSITIES[name].signed
  has_b = name in DENSITIES and 'b_iso' in DENSITIES[name].options
  voxelizer = voxelize.make_voxelizer(
    (kind,), GRID, density=density, b_iso=B_ISO if has_b else 0.0
  )
  height = round(HEIGHT.get(name, 0) / GRID.spacing)
  vox_XYZC = np.asarray(jax.jit(voxelizer)(mol))
  values_CYX = vox_XYZC[:, :, GRID.size // 2 + height].T
  return values_CYX, voxelizer.units[0], signed or CHANNELS[kind].signed


def draw(mol: Molecule, names: Sequence[str], columns: int) -> Figure:
  """Returns a figure with a panel for each of the fields; see `plane`."""
  rows = -(-len(names) // columns)
  figure = Figure(
    figsize=(1.8 * columns, 2.3 * rows), layout='constrained', dpi=100
  )
  panels = list(figure.subplots(rows, columns, squeeze=False).flat)
  figure.get_layout_engine().set(hspace=0.06)
  for panel in panels:
    panel.set_axis_off()
  for panel, name in zip(panels, names, strict=False):
    panel.set_title(name, size=10)
    _draw(figure, panel, name, *plane(mol, name))
  return figure


def _draw(
  figure: Figure,
  panel: axes.Axes,
  name: str,
  values_CYX: np.ndarray,
  unit: str,
  signed: bool,
) -> None:
  """Draws values with the bar of their scale, atom types as blended colours."""
  if name == 'atoms':
    count = len(fields.ELEMENTS)  # without 'other'
    panel.imshow(draw_inputs.blended(values_CYX[:count]), origin='lower')
    return
  top = np.abs(values_CYX).max()
  if signed:
    norm, shades = colors.AsinhNorm(top / 50, -top, top), 'RdBu'
    ticks = (-top, 0, top)
  elif unit:
    norm, shades = colors.LogNorm(top / 300, top), 'Blues'
    values_CYX = np.maximum(values_CYX, norm.vmin)
    ticks = (norm.vmin, top)
  else:
    norm, shades, ticks = colors.Normalize(0, top), 'Greens', (0, top)
  image = panel.imshow(values_CYX[0], origin='lower', norm=norm, cmap=shades)
  bar = figure.colorbar(image, ax=panel, location='bottom', shrink=0.8)
  bar.set_ticks(ticks, labels=[_digits(tick) for tick in ticks])
  bar.minorticks_off()
  bar.ax.tick_params(labelsize=8, length=2)
  bar.set_label(
    unit.replace('^3/Å', '⁴').replace('^3', '³') or 'a pure number', size=8
  )


def _digits(number: float) -> str:
  """Returns a number with two digits, and without an exponent up to 1e6."""
  return f'{float(f"{number:.2g}"):g}'


def save(figure: Figure, file: pathlib.Path) -> None:
  """Writes a figure with 256 colours, which makes the file small."""
  picture = io.BytesIO()
  figure.savefig(picture)
  image = Image.open(picture).convert('RGB')
  image.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == '__main__':
  MOLECULE = with_map(draw_inputs.molecule())
  for path, (shown, columns) in SHEETS.items():
    save(draw(MOLECULE, shown, columns), path)
