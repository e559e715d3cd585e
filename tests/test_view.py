"""Pictures of molecules: surfaces against closed forms, axes against atoms."""

import collections

import jax.numpy as jnp
import numpy as np
import pytest

from edjax import grid as grids
from edjax import view
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.kernels.isosurface import isosurface

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


def enclosed(vertices, faces, point):
  """Winding number, by the solid angles of the faces.

  Van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30, 125 (1983).
  """
  a, b, c = np.moveaxis(vertices[faces] - point, 1, 0)
  la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))

  def dot(x, y):
    return np.sum(x * y, axis=1)

  volume = dot(a, np.cross(b, c))
  rest = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
  return np.sum(2 * np.arctan2(volume, rest)) / (4 * np.pi)


def volume_of(vertices, faces):
  a, b, c = np.moveaxis(vertices[faces], 1, 0)
  return np.sum(a * np.cross(b, c)) / 6


@pytest.mark.parametrize('radius', [0.7, 1.2, 2.0])
def test_isosurface_of_a_gaussian_is_its_sphere(radius):
  vertices, faces = isosurface(gaussian(), GRID, level_of(radius))
  found = np.linalg.norm(vertices - CENTRE, axis=1)
  # A chord of a curve of second derivative f'' is off by h^2/8 f'' at most,
  # the surface by that over the slope; edges are up to sqrt(3) spacings long.
  bend = max(abs(radius**2 / SIGMA**2 - 1), 1) / radius
  np.testing.assert_allclose(
    found, radius, rtol=0, atol=3 * GRID.spacing**2 / 8 * bend * 1.3
  )
  # Flat triangles inside of a sphere: short of it by the order of h^2.
  short = volume_of(vertices, faces) / (4 / 3 * np.pi * radius**3)
  assert 1 - 1.5 * (GRID.spacing / radius) ** 2 < short < 1.03
  assert enclosed(vertices, faces, CENTRE) == pytest.approx(1, abs=1e-6)
  outside = CENTRE + 1.3 * radius * np.array([0, 0.6, -0.8])
  assert enclosed(vertices, faces, outside) == pytest.approx(0, abs=1e-6)


def test_isosurface_has_the_axes_of_the_grid():
  """With x and y exchanged the surface no longer holds its atom."""
  exchanged = (1, 0, 2)
  for order, inside in (((0, 1, 2), 1), (exchanged, 0)):
    vertices, faces = isosurface(
      gaussian().transpose(order), GRID, level_of(1.0)
    )
    middle = (vertices.max(0) + vertices.min(0)) / 2
    np.testing.assert_allclose(middle, CENTRE[list(order)], atol=0.03)
    assert enclosed(vertices, faces, CENTRE) == pytest.approx(inside, abs=1e-6)


def test_isosurface_of_a_linear_field_is_a_plane():
  normal = np.array([0.3, -0.5, 0.8])
  points = grids.centres(GRID)
  values = (points @ normal).reshape((GRID.size,) * 3)
  vertices, faces = isosurface(values, GRID, 0.37)
  np.testing.assert_allclose(vertices @ normal, 0.37, atol=1e-12)
  a, b, c = np.moveaxis(vertices[faces], 1, 0)
  # Seen from below the level: every face looks down the slope.
  assert (np.cross(b - a, c - a) @ normal).max() < 1e-12


def test_isosurface_is_closed():
  """Two spheres that touch, of noise: every edge is used once each way."""
  rng = np.random.default_rng(0)
  values = gaussian() + gaussian([-0.8, 0.4, -0.2], 1.5)
  values = values * rng.uniform(0.8, 1.2, values.shape)
  vertices, faces = isosurface(values, GRID, level_of(1.0))
  edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
  count = collections.Counter(map(tuple, edges.tolist()))
  assert set(count.values()) == {1}
  assert all((b, a) in count for a, b in count)
  assert volume_of(vertices, faces) > 0
  # One sphere without noise: Euler's V - E + F = 2.
  vertices, faces = isosurface(gaussian(), GRID, level_of(1.0))
  assert len(vertices) - len(faces) * 3 // 2 + len(faces) == 2


def test_bad_fields_are_refused():
  values = gaussian()
  with pytest.raises(ValueError, match='goes from'):
    isosurface(values, GRID, 5.0)
  with pytest.raises(ValueError, match='as the grid is'):
    isosurface(values[:-1], GRID, 0.1)
  with pytest.raises(ValueError, match='finite'):
    isosurface(np.where(values > 0.1, np.nan, values), GRID, 0.05)
  with pytest.raises(ValueError, match='above 0'):
    view.molecule_and_isosurface(*WATER, values, GRID, 0)
  with pytest.raises(ValueError, match='2 coords of 3'):
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
  vertices, faces = isosurface(values, GRID, level_of(1.5))
  for i, name in enumerate('xyz'):
    np.testing.assert_allclose(surface[name], vertices[:, i], atol=1e-4)
    np.testing.assert_allclose(atoms[name], coords[:3, i])
    assert 'Å' in figure.layout.scene[f'{name}axis'].title.text
  np.testing.assert_array_equal([surface.i, surface.j, surface.k], faces.T)
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
  assert np.mean(above.x) > 0.5
  assert np.mean(below.x) < -0.5
  assert above.color != below.color


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
