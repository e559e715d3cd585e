"""Blurred fields against scipy, closed forms and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from data_builders import xtb
from edjax import fields, geometry, voxelize
from edjax.grid import Grid
from edjax.kernels import gaussian_blur
from edjax.molecule import DensityMap, Molecule

GRID = Grid(10, 0.5)
WIDTH = 0.6
NUMBERS = [8, 6, 1, 1]
COORDS = [[1.2, 0.1, 0.0], [0.0, 0, 0], [-0.6, 0.95, 0.1], [-0.6, -0.9, 0]]


@functools.cache
def _orbitals():
  return xtb.run(NUMBERS, COORDS).orbitals


def _mol(shift=(0.0, 0.0, 0.0)) -> Molecule:
  density_map = DensityMap(
    np.random.default_rng(0).normal(size=(30, 30, 30)).astype(np.float32),
    jnp.full(3, -6.0), 0.42 * jnp.eye(3),
  )  # fmt: skip
  return Molecule.from_arrays(
    NUMBERS, np.add(COORDS, shift), orbitals=_orbitals(),
    density_map=density_map, center=False,
  )  # fmt: skip


def _voxels(grid, **options):
  f = voxelize.make_voxelizer(grid=grid, **options)
  return np.asarray(jax.jit(f)(_mol()))


CASES = [
  ({'channels': ('atoms',), 'elements': ('O',)}, 2e-4),
  ({'channels': ('valence',)}, 2e-4),
  ({'channels': ('density',), 'density': 'promolecule', 'b_iso': 40.0}, 2e-4),
  ({'channels': ('atoms',), 'elements': ('O',), 'binary': True}, 1e-5),
  ({'channels': ('atoms',), 'elements': ('O',), 'truncated': True}, 1e-5),
  ({'channels': ('valence',), 'truncated': True}, 1e-5),
  ({'channels': ('shape',), 'supersample': 2}, 1e-5),
  ({'channels': ('density',)}, 1e-5),
  ({'channels': ('density',), 'density': 'deformation'}, 1e-5),
  ({'channels': ('density',), 'density': 'map'}, 1e-5),
]


@pytest.mark.parametrize(('options', 'tolerance'), CASES)
def test_every_field_is_blurred_as_scipy_does_it(options, tolerance):
  """Blurs values far beyond the box; Gaussians also to where kernels end.

  scipy's kernel is ours; of Gaussians blurred by their width it differs by the
  4 standard deviations at which it ends (6e-5) and by being samples.
  """
  wide = Grid(GRID.size + 2 * 9, GRID.spacing)
  axes = (0, 1, 2)
  raw = _voxels(wide, **options)
  want = scipy.ndimage.gaussian_filter(
    raw.astype(np.float64), WIDTH / GRID.spacing, axes=axes
  )[9:-9, 9:-9, 9:-9]
  got = _voxels(GRID, smooth=WIDTH, **options)
  top = np.abs(want).max()
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * top)
  # Controls: it does something, and more than sharpen a tolerance.
  assert np.abs(raw[9:-9, 9:-9, 9:-9] - want).max() > 0.05 * top
  if options.get('binary') or options['channels'] == ('shape',):
    return
  wrong = scipy.ndimage.gaussian_filter(
    raw.astype(np.float64), 1.05 * WIDTH / GRID.spacing, axes=axes
  )[9:-9, 9:-9, 9:-9]
  assert np.abs(got - wrong).max() > 3 * tolerance * top


def test_a_blurred_gaussian_is_a_wider_one():
  """Closed form, of a Gaussian that is known on the grid alone."""
  a, grid = 0.7, Grid(12, 0.4)

  def field(mol, grid, supersample):
    del supersample
    return fields.atoms_grid(mol, grid, elements=('O',), width=a)

  mol = Molecule.from_arrays([8], [[0.13, -0.2, 0.31]], center=False)
  got = gaussian_blur.blurred(field, 0.5)(mol, grid)
  width = np.hypot(a, 0.5)
  want = fields.atoms_grid(mol, grid, elements=('O',), width=width)
  want = want * (a / width) ** 3
  # The kernel ends at 4 standard deviations, where 6e-5 are left.
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * float(want.max()))
  wrong = fields.atoms_grid(mol, grid, elements=('O',), width=a)
  assert float(jnp.abs(got - wrong).max()) > 0.1


def test_what_is_outside_of_the_box_is_blurred_into_it():
  """An atom beyond the edge: the sum over all boxes is as without blur."""
  mol = Molecule.from_arrays([8], [[2.9, 0.0, 0.0]], center=False)
  f = voxelize.make_voxelizer(('shape',), GRID, smooth=WIDTH)
  bigger = voxelize.make_voxelizer(('shape',), Grid(30, 0.5), smooth=WIDTH)
  plain = voxelize.make_voxelizer(('shape',), Grid(30, 0.5))
  vox = jax.jit(f)(mol)
  every = jax.jit(bigger)(mol)
  np.testing.assert_allclose(vox, every[10:20, 10:20, 10:20], rtol=0, atol=1e-5)
  assert float(vox[-1].max()) > 0.2
  total = float(jax.jit(plain)(mol).sum())
  assert float(every.sum()) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize('density', ['promolecule', 'xtb', 'deformation'])
def test_gradient_is_that_of_the_blurred_density(density):
  """Against central differences of the blurred density under a shift.

  Control: the blurred length of the gradient is another thing.
  """
  options = {'density': density, 'smooth': WIDTH}
  both = voxelize.make_voxelizer(('density', 'gradient'), GRID, **options)
  alone = jax.jit(voxelize.make_voxelizer(('density',), GRID, **options))
  value, magnitude = np.moveaxis(np.asarray(jax.jit(both)(_mol())), -1, 0)
  np.testing.assert_allclose(value, alone(_mol())[..., 0], rtol=1e-4, atol=1e-5)
  step = 0.005
  slopes = []
  for axis in np.eye(3) * step:
    ahead, behind = (
      np.asarray(alone(geometry.translate(_mol(), jnp.asarray(s, jnp.float32))))
      for s in (axis, -axis)
    )
    slopes.append((ahead - behind)[..., 0].astype(np.float64) / (2 * step))
  want = np.linalg.norm(slopes, axis=0)
  top = want.max()
  # The third derivative of orbitals, which are sharp at these voxels, times
  # step^2/6; and the rounding of float32 over 0.01 Å.
  np.testing.assert_allclose(magnitude, want, rtol=0, atol=2e-3 * top)
  wide = Grid(GRID.size + 18, GRID.spacing)
  sharp = _voxels(wide, channels=('gradient',), density=density)[..., 0]
  lengths = scipy.ndimage.gaussian_filter(sharp, WIDTH / GRID.spacing)
  assert np.abs(lengths[9:-9, 9:-9, 9:-9] - want).max() > 0.05 * top


def test_orbitals_beside_a_pocket_are_blurred_both():
  numbers, coords = [*NUMBERS, 16], [*COORDS, [0.0, -2.0, 0.5]]
  mol = Molecule.from_arrays(
    numbers, coords, _orbitals(), groups=[0, 0, 0, 0, 1], center=False
  )
  f = voxelize.make_voxelizer(('density',), GRID, groups=True, smooth=WIDTH)
  vox = np.asarray(jax.jit(f)(mol))
  pocket = Molecule.from_arrays([16], [[0.0, -2.0, 0.5]], center=False)
  wants = (
    (_mol(), {}), (pocket, {'density': 'promolecule'}),
  )  # fmt: skip
  for i, (one, options) in enumerate(wants):
    alone = voxelize.make_voxelizer(('density',), GRID, smooth=WIDTH, **options)
    want = np.asarray(jax.jit(alone)(one))[..., 0]
    np.testing.assert_allclose(
      vox[..., i], want, rtol=0, atol=1e-5 * want.max()
    )


def test_blurred_noise_is_weaker_and_smoother():
  raw = _voxels(Grid(20, 0.5), channels=('noise',))[..., 0]
  got = _voxels(Grid(20, 0.5), channels=('noise',), smooth=WIDTH)[..., 0]
  # The sum of the squares of a Gaussian kernel, in each direction.
  ratio = (WIDTH / 0.5 * 2 * np.sqrt(np.pi)) ** -1.5
  assert got.std() / raw.std() == pytest.approx(ratio, rel=0.1)

  def neighbours(x):
    return np.corrcoef(x[1:].ravel(), x[:-1].ravel())[0, 1]

  assert abs(neighbours(raw)) < 0.05
  # The kernel with itself, one voxel on.
  apart = np.exp(-((0.5 / WIDTH) ** 2) / 4)
  assert neighbours(got) == pytest.approx(apart, abs=0.05)


def test_blurs_too_narrow_for_the_voxels_are_refused():
  with pytest.raises(ValueError, match=r'0.29 Å is too narrow for voxels'):
    voxelize.make_voxelizer(('shape',), GRID, smooth=0.29)
  for bad in (-1.0, float('nan')):
    with pytest.raises(ValueError, match='too narrow'):
      voxelize.make_voxelizer(('shape',), GRID, smooth=bad)
