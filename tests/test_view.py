"""Pictures of molecules: fields on their grids, axes against atoms."""

import jax.numpy as jnp
import numpy as np
import pytest

from edjax import grid as grids
from edjax import view
from edjax.grid import Grid
from edjax.kernels import gaussians

GRID = Grid(32, 0.25)
CENTRE = np.array([0.9, -0.6, 0.35])  # no symmetry of the grid
SIGMA = 0.8
WATER = [8, 1, 1], [[0, 0, 0.117], [0, 0.757, -0.471], [0, -0.757, -0.471]]


def gaussian(centre=CENTRE, electrons=2.0):
  """An s-like density of known integral, on the program's own grid."""
  values = gaussians.splat_grid(
    jnp.asarray([centre], jnp.float32),
    jnp.full((1, 1), electrons, jnp.float32),
    jnp.full(1, SIGMA, jnp.float32),
    GRID,
  )
  return np.asarray(values[..., 0])


def level_of(radius, electrons=2.0):
  peak = electrons / ((2 * np.pi) ** 1.5 * SIGMA**3)
  return peak * np.exp(-(radius**2) / (2 * SIGMA**2))


def test_bad_fields_are_refused():
  pytest.importorskip('plotly')
  values = gaussian()
  for field, level, message in (
    (values, 5.0, 'goes from'),
    (values[:-1], 0.1, 'as the grid is'),
    (np.where(values > 0.1, np.nan, values), 0.05, 'finite'),
  ):
    with pytest.raises(ValueError, match=message):
      view.molecule_and_isosurface(*WATER, field, GRID, level)
  with pytest.raises(ValueError, match='above 0'):
    view.molecule_and_isosurface(*WATER, values, GRID, 0)
  with pytest.raises(ValueError, match=r'coords must be \[3, 3\]'):
    view.molecule_and_isosurface(WATER[0], WATER[1][1:], values, GRID, 0.1)
  with pytest.raises(ValueError, match='outside'):
    view.slices({'a': values}, GRID, z=5)


def test_bonds_of_known_molecules():
  assert sorted(map(sorted, view.bonds(*WATER).tolist())) == [[0, 1], [0, 2]]
  # Ethene's C=C is 1.34 Å; two waters 2.9 Å apart are not bonded.
  apart = np.concatenate([WATER[1], np.add(WATER[1], [2.9, 0, 0])])
  assert len(view.bonds(WATER[0] * 2, apart)) == 4
  assert view.bonds([2], [[0, 0, 0]]).shape == (0, 2)


def test_figure_shows_atoms_bonds_and_surface():
  pytest.importorskip('plotly')
  numbers = [*WATER[0], 0, 0]  # padded
  coords = np.concatenate([np.add(WATER[1], CENTRE), np.zeros((2, 3))])
  values = gaussian()
  figure = view.molecule_and_isosurface(
    numbers, coords, values, GRID, level_of(1.5)
  )
  surface, lines, atoms = figure.data
  assert surface.isomin == surface.isomax == level_of(1.5)
  for i, name in enumerate('xyz'):
    # The density about its centre, whatever the order of the axes.
    middle = np.average(surface[name], weights=surface.value)
    assert middle == pytest.approx(CENTRE[i], abs=0.01)
    np.testing.assert_allclose(atoms[name], coords[:3, i])
    assert 'Å' in figure.layout.scene[f'{name}axis'].title.text
  assert surface.value.shape == (GRID.size**3,)
  assert figure.layout.scene.aspectmode == 'data'  # a sphere looks like one
  assert list(atoms.text) == ['O', 'H', 'H']
  # Two bonds of 0.96 Å with gaps between.
  ends = np.stack([lines.x, lines.y, lines.z], -1).reshape(-1, 3, 3)
  lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
  np.testing.assert_allclose(lengths, 0.958, atol=0.002)
  assert np.isnan(ends[:, 2]).all()
  page = view.Page(figure)._repr_html_()
  assert 'Plotly.newPlot' in page
  assert 'script src=' not in page  # needs no internet connection


def test_figure_of_a_signed_field_has_two_surfaces():
  pytest.importorskip('plotly')
  values = gaussian() - gaussian([-1.0, 0.5, 0.0])
  figure = view.molecule_and_isosurface(*WATER, values, GRID, 0.05)
  above, below, *_ = figure.data
  assert (above.isomin, below.isomin) == (0.05, -0.05)
  assert above.colorscale != below.colorscale


def test_slices_have_the_axes_of_the_grid():
  values = gaussian()
  figure = view.slices(
    {'a': values, 'b': -values}, GRID, [8, 1], [CENTRE, [0, 0, 3]], z=CENTRE[2]
  )
  first, second = figure.axes[:2]
  (image,) = first.images
  pixels = np.asarray(image.get_array())
  row, column = np.unravel_index(pixels.argmax(), pixels.shape)
  left, right, bottom, _ = image.get_extent()
  assert image.origin == 'lower'
  step = (right - left) / GRID.size
  # The nearest pixel to the centre of the density, which is none of its mirror
  # images or of the exchange of x and y.
  assert left + (column + 0.5) * step == pytest.approx(CENTRE[0], abs=step)
  assert bottom + (row + 0.5) * step == pytest.approx(CENTRE[1], abs=step)
  nearest = np.argmin(np.abs(grids.axis(GRID) - CENTRE[2]))
  np.testing.assert_array_equal(pixels, values[:, :, nearest].T)
  # The atom 3 Å above the slice is not marked.
  (mark,) = first.texts
  assert mark.get_text() == 'O'
  assert mark.get_position() == tuple(CENTRE[:2])
  assert figure._repr_png_().startswith(b'\x89PNG')
  assert second.images[0].get_clim()[0] < 0 < second.images[0].get_clim()[1]
