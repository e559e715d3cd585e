"""A molecule and its fields as pictures, in a notebook or in a file.

Two kinds: a figure of plotly that turns under the mouse, which needs no
program and no internet connection, and slices by matplotlib, which show
wherever a picture does.
"""

import functools
import html
import io
from collections.abc import Mapping

import numpy as np

from edjax import arguments
from edjax import grid as grids
from edjax.chem import elements
from edjax.grid import Grid

# Jmol's (jmol.sourceforge.net/jscolors, table of elements), the light ones
# darker, to be seen on white.
_COLOURS = {
  'H': '#b0b0b0', 'C': '#505050', 'N': '#3050f8', 'O': '#ff0d0d',
  'F': '#58b020', 'P': '#ff8000', 'S': '#d0b000', 'Cl': '#1fc01f',
  'Br': '#a62929', 'I': '#940094',
}  # fmt: skip
_OTHER = '#ff1493'
_POSITIVE, _NEGATIVE = '#2a78d6', '#eb6834'


def bonds(numbers, coords) -> np.ndarray:
  """Returns which atoms are bonded, by distance.

  RDKit's rule of covalent radii (`rdDetermineBonds.DetermineConnectivity`).

  Args:
    numbers: [A] atomic numbers, or symbols.
    coords: [A, 3] Å.

  Returns:
    [n, 2] indices of atoms.
  """
  from rdkit import Chem, Geometry
  from rdkit.Chem import rdDetermineBonds

  mol = Chem.RWMol()
  numbers = elements.as_numbers(numbers)
  conformer = Chem.Conformer(len(numbers))
  for i, (number, place) in enumerate(zip(numbers, coords, strict=True)):
    mol.AddAtom(Chem.Atom(int(number)))
    conformer.SetAtomPosition(i, Geometry.Point3D(*map(float, place)))
  mol.AddConformer(conformer)
  rdDetermineBonds.DetermineConnectivity(mol)
  pairs = [(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds()]
  return np.array(pairs, np.int64).reshape(-1, 2)


def molecule_and_isosurface(
  numbers,
  coords,
  values_XYZ,
  grid: Grid,
  level: float,
  name: str = 'density (e/Å³)',
):
  """Atoms, bonds and an isosurface of a field, to be turned in a notebook.

  A field with values below -level gets that surface too, in another colour.

  Args:
    numbers: [A] atomic numbers, or symbols; 0 is padding.
    coords: [A, 3] Å, in the frame of the grid: a molecule's `coords_A3`.
    values_XYZ: a field on the grid.
    grid: voxels.
    level: the field's unit, above 0; for the GFN2-xTB density 0.2 e/Å^3 goes
      around the molecule, 1 e/Å^3 along its bonds.
    name: of the field, with its unit.

  Returns:
    A figure of plotly; `Page(figure)` at the end of a cell shows it, and
    `figure.write_html(path)` writes a page that needs nothing else.

  Raises:
    ValueError: level is not above 0 or not reached, or the field is not of
      this grid or not finite.
  """
  from plotly import graph_objects

  level = arguments.scalar('level', level)
  if not level > 0:
    raise ValueError(f'level must be above 0, not {level}')
  numbers_A, coords_A3 = _atoms(numbers, coords)
  values_XYZ = _checked_field(values_XYZ, grid)
  low, high = values_XYZ.min(), values_XYZ.max()
  if not low <= level < high:
    raise ValueError(
      f'no isosurface at {level}: the field goes from {low:.4g} to {high:.4g}'
    )
  figure = graph_objects.Figure()
  levels = [(level, _POSITIVE)]
  if low < -level:
    levels.append((-level, _NEGATIVE))
  x, y, z = grids.centres(grid).astype(np.float32).T
  for value, colour in levels:
    figure.add_trace(
      graph_objects.Isosurface(
        x=x, y=y, z=z, value=values_XYZ.ravel().astype(np.float32),
        isomin=value, isomax=value, surface={'count': 1},
        caps={axis: {'show': False} for axis in 'xyz'},
        colorscale=[colour, colour], showscale=False, opacity=0.3,
        name=f'{name} = {value:g}', showlegend=True, hoverinfo='name',
      )
    )  # fmt: skip
  pairs_N2 = bonds(numbers_A, coords_A3)
  # One line with gaps.
  gap = np.full((len(pairs_N2), 1, 3), np.nan)
  x, y, z = np.concatenate([coords_A3[pairs_N2], gap], axis=1).reshape(-1, 3).T
  figure.add_trace(
    graph_objects.Scatter3d(
      x=x, y=y, z=z, mode='lines', name='bonds', hoverinfo='skip',
      line={'color': '#808080', 'width': 8}, showlegend=False,
    )
  )  # fmt: skip
  x, y, z = coords_A3.T
  symbols = [elements.SYMBOLS[number] for number in numbers_A]
  figure.add_trace(
    graph_objects.Scatter3d(
      x=x, y=y, z=z, mode='markers', name='atoms', text=symbols,
      hovertemplate='%{text} (%{x:.2f}, %{y:.2f}, %{z:.2f}) Å<extra></extra>',
      marker={
        'color': [_COLOURS.get(symbol, _OTHER) for symbol in symbols],
        'size': [8 if number == 1 else 12 for number in numbers_A],
        'opacity': 1, 'line': {'color': '#ffffff', 'width': 1},
      }, showlegend=False,
    )
  )  # fmt: skip
  axes = {f'{a}axis': {'title': {'text': f'{a} (Å)'}} for a in 'xyz'}
  figure.update_layout(
    # From a little further than by default, so that no axis is cut off.
    scene=axes
    | {'aspectmode': 'data', 'camera': {'eye': {'x': 1.5, 'y': 1.5, 'z': 1.1}}},
    margin={'l': 0, 'r': 0, 't': 0, 'b': 0},
    height=480,
    legend={'x': 0, 'y': 1},
  )
  return figure


class Page:
  """A figure of plotly at the end of a cell.

  As a page of its own within the notebook's, with plotly's own bundle: whether
  Jupyter, Colab or another program has an extension for plotly, and whether
  there is an internet connection, makes no difference.
  """

  def __init__(self, figure):
    self._figure = figure

  def _repr_html_(self) -> str:
    page = self._figure.to_html(include_plotlyjs=True)
    height = (self._figure.layout.height or 450) + 50
    return (
      f'<div><iframe srcdoc="{html.escape(page)}" width="100%" '
      f'height="{height}" scrolling="no" style="border:0"></iframe></div>'
    )


@functools.cache
def _picture_class():
  import matplotlib.figure  # no pyplot: no global state

  class Picture(matplotlib.figure.Figure):
    """Shows at the end of a cell, whatever became of pyplot there."""

    def _repr_png_(self) -> bytes:
      file = io.BytesIO()
      self.savefig(file, format='png', dpi=110)
      return file.getvalue()

  return Picture


def slices(fields, grid: Grid, numbers=(), coords=(), z: float = 0.0):
  """Slices of fields parallel to x and y, side by side.

  Args:
    fields: mapping of a name, with its unit, to a field values_XYZ.
    grid: voxels.
    numbers: [A] atomic numbers, or symbols; 0 is padding.
    coords: [A, 3] Å, in the frame of the grid. Atoms within 1 Å of the slice
      are marked.
    z: of the slice, Å; the voxels nearest to it are shown.

  Returns:
    A figure of matplotlib; at the end of a cell it shows, and
    `.savefig(path)` writes a picture.

  Raises:
    ValueError: a field is not of this grid or not finite, or z is outside of
      the grid.
  """
  if not isinstance(fields, Mapping):
    raise ValueError("fields must be a dict, as {'density': values}")
  z = arguments.scalar('z', z)
  if not abs(z) <= grid.extent / 2:
    raise ValueError(f'z = {z} Å is outside of a grid of {grid.extent} Å')
  numbers_A, coords_A3 = _atoms(numbers, coords)
  index = int(np.argmin(np.abs(grids.axis(grid) - z)))
  half = grid.extent / 2
  figure = _picture_class()(
    figsize=(4.2 * len(fields), 3.6), layout='constrained'
  )
  axes = figure.subplots(1, len(fields), squeeze=False)[0]
  for axis, (name, values_XYZ) in zip(axes, fields.items(), strict=True):
    slice_XY = _checked_field(values_XYZ, grid)[:, :, index]
    signed = slice_XY.min() < -1e-6 * slice_XY.max()
    most = np.abs(slice_XY).max()
    image = axis.imshow(
      slice_XY.T,  # rows go along y
      origin='lower',
      extent=(-half, half, -half, half),
      cmap='RdBu' if signed else 'viridis',
      vmin=-most if signed else 0,
      vmax=most,
    )
    figure.colorbar(image, ax=axis, shrink=0.8)
    axis.set_title(name, fontsize=10)
    axis.set_xlabel('x (Å)')
    axis.set_ylabel('y (Å)')
    for number, (x, y, height) in zip(numbers_A, coords_A3, strict=True):
      if abs(height - z) > 1:
        continue
      symbol = elements.SYMBOLS[number]
      axis.text(
        x, y, symbol, color='white', fontsize=8, ha='center', va='center',
        clip_on=True,
        bbox={'boxstyle': 'circle,pad=0.15', 'linewidth': 0,
              'facecolor': _COLOURS.get(symbol, _OTHER)},
      )  # fmt: skip
  return figure


def _checked_field(values_XYZ, grid: Grid) -> np.ndarray:
  """Returns a field as float64 if it is of this grid and finite."""
  values_XYZ = arguments.real('values', values_XYZ)
  if values_XYZ.shape != (grid.size,) * 3:
    raise ValueError(
      f'values must be {[grid.size] * 3} as the grid is, not '
      f'{list(values_XYZ.shape)}'
    )
  if not np.isfinite(values_XYZ).all():
    raise ValueError('the field is not finite everywhere')
  return values_XYZ


def _atoms(numbers, coords) -> tuple[np.ndarray, np.ndarray]:
  """Returns atoms without padding."""
  numbers_A = elements.as_numbers(numbers).astype(np.int64)
  coords_A3 = arguments.real('coords', coords)
  if numbers_A.size or coords_A3.size:
    arguments.check_shape('coords', coords_A3, (numbers_A.size, 3))
  return numbers_A[numbers_A > 0], coords_A3[numbers_A > 0]
