"""Draws docs/inputs.png: one molecule as the four inputs of a network.

python -m docs.draw_inputs
"""

import gzip
import io
import json
import pathlib

import jax
import numpy as np
from matplotlib import cm, colors
from matplotlib.figure import Figure
from PIL import Image

from data_builders import qm9_mini, xtb
from edjax import fields, geometry, voxelize
from edjax.chem import elements
from edjax.grid import Grid, axis
from edjax.molecule import Molecule

SMILES = 'Fc1cnco1'  # 5-fluorooxazole: planar, with all elements of QM9
GRID = Grid(size=129, spacing=0.0625)  # odd: voxels lie in the molecule's plane
COLOURS = {
  'H': '#9a9a9a', 'C': '#404040', 'N': '#2f55d4', 'O': '#d62b20',
  'F': '#2f9e44',
}  # fmt: skip
SCALES = (
  (colors.LogNorm(0.03, 10), '#4292c6', '#08306b', 'e/Å³'),
  (colors.LogNorm(0.1, 100), '#807dba', '#3f007d', 'e/Å⁴'),
  (colors.Normalize(0, 1), '#74c476', '#00441b', 'occupancy'),
)
FILE = pathlib.Path(__file__).with_name('inputs.png')


def molecule() -> Molecule:
  """Returns the embedded molecule with orbitals, its plane at z = 0."""
  file = pathlib.Path(qm9_mini.__file__).with_name('molecules.jsonl.gz')
  with gzip.open(file, 'rt', encoding='utf-8') as lines:
    records = map(json.loads, lines)
    record = next(r for r in records if r['smiles'] == SMILES)
  numbers, coords_A3 = np.array(record['numbers']), np.array(record['coords'])
  result = xtb.run(numbers, coords_A3)
  mol = Molecule.from_arrays(
    numbers, coords_A3, orbitals=result.orbitals, homo=result.homo,
    lumo=result.lumo,
  )  # fmt: skip
  # Rows: the principal axes, longest first.
  axes_33 = np.linalg.svd(coords_A3 - coords_A3.mean(axis=0))[2]
  axes_33[2] *= np.linalg.det(axes_33)  # a rotation, not a reflection
  return geometry.rotate(mol, axes_33.astype(np.float32))


def planes(mol: Molecule) -> tuple[np.ndarray, ...]:
  """Returns the inputs in the plane: atom types [C, Y, X], others [Y, X]."""
  voxels = voxelize.make_voxelizer(
    ('atoms', 'density', 'gradient', 'shape'), GRID, density='xtb'
  )
  vox_XYZC = np.asarray(jax.jit(voxels)(mol))
  values_CYX = vox_XYZC[:, :, GRID.size // 2].T
  count = len(fields.ELEMENTS)
  return values_CYX[:count], *values_CYX[count + 1 :]  # without 'other'


def blended(values_CYX: np.ndarray) -> np.ndarray:
  """Returns the channels of the atom types as one picture [Y, X, 3] on white.

  Channels absorb light like filters, so that their order does not count.
  """
  colours = [COLOURS[symbol] for symbol in fields.ELEMENTS]
  passed_C3 = np.clip([colors.to_rgb(colour) for colour in colours], 0.05, 1)
  return np.exp(np.moveaxis(values_CYX, 0, -1) @ np.log(passed_C3))


def draw(mol: Molecule) -> Figure:
  """Returns the figure: the plane of the molecule, with a panel per input."""
  atoms_CYX, density_YX, gradient_YX, shape_YX = planes(mol)
  figure = Figure(figsize=(10, 3.5), layout='constrained', dpi=110)
  figure.get_layout_engine().set(w_pad=0.02, wspace=0.03)
  panels = figure.subplots(1, 4)
  half = GRID.extent / 2
  box = {'origin': 'lower', 'extent': (-half, half, -half, half)}

  panels[0].imshow(blended(atoms_CYX), **box)
  numbers_A, coords_A3 = np.asarray(mol.numbers_A), np.asarray(mol.coords_A3)
  for number, (x, y, _) in zip(numbers_A, coords_A3, strict=True):
    panels[0].text(
      x, y, elements.SYMBOLS[number], color='white', weight='bold',
      ha='center', va='center_baseline',
    )  # fmt: skip
  panels[0].plot((0.4 - half, 2.4 - half), 2 * (0.5 - half,), 'k', lw=2.5)
  panels[0].text(1.4 - half, 0.65 - half, '2 Å', ha='center', va='bottom')
  # A legend of elements in place of the colour bars of the other panels.
  mesh = cm.ScalarMappable(
    colors.BoundaryNorm(np.arange(6), 5),
    colors.ListedColormap([COLOURS[symbol] for symbol in fields.ELEMENTS]),
  )
  bar = figure.colorbar(mesh, ax=panels[0], location='bottom', shrink=0.85)
  bar.set_ticks(np.arange(5) + 0.5, labels=fields.ELEMENTS)
  bar.ax.tick_params(length=0)
  bar.set_label('a channel an element')

  for panel, values_YX, (norm, *shades, unit) in zip(
    panels[1:], (density_YX, gradient_YX, shape_YX), SCALES, strict=True
  ):
    image = panel.imshow(
      np.maximum(values_YX, norm.vmin),
      norm=norm,
      cmap=colors.LinearSegmentedColormap.from_list('', ('white', *shades)),
      **box,
    )
    bar = figure.colorbar(image, ax=panel, location='bottom', shrink=0.85)
    bar.ax.xaxis.set_major_formatter('{x:g}')
    bar.set_label(unit)
  x_X = axis(GRID)
  panels[1].contour(
    x_X, x_X, density_YX, 0.05 * 2.0 ** np.arange(8), colors='#08306b',
    linewidths=0.5,
  )  # fmt: skip
  panels[3].contour(
    x_X, x_X, shape_YX, (0.5,), colors='#00441b', linewidths=0.8
  )
  titles = ('atom types', 'electron density', 'gradient magnitude', 'shape')
  for panel, title in zip(panels, titles, strict=True):
    panel.set_title(title)
    panel.set_xticks(())
    panel.set_yticks(())
    panel.spines[:].set_color('#bbbbbb')
  return figure


if __name__ == '__main__':
  picture = io.BytesIO()
  draw(molecule()).savefig(picture)
  # Steps of 4 in 256 are invisible, and halve the file.
  pixels = np.asarray(Image.open(picture).convert('RGB')) | 3
  Image.fromarray(pixels).save(FILE, optimize=True)
