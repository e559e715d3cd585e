"""The histogram of log rho."""

import numpy as np
from scipy import interpolate
from scipy.spatial.transform import Rotation

from edjax import fields, grid
from edjax.baselines.log_histogram import heights, log_histogram
from edjax.grid import Grid
from edjax.molecule import Molecule

NUMBERS = np.array([8, 1, 1])
WATER = np.array([[0, 0, 0.117], [0, 0.757, -0.471], [0, -0.757, -0.471]])


def of_free_atoms(numbers, coords, size=48, **padding):
  mol = Molecule.from_arrays(numbers, coords, **padding)
  voxels = Grid(size, 0.25)
  rho_XYZ = fields.free_atoms_density_grid(mol, voxels)
  return log_histogram(rho_XYZ, voxels.voxel_volume)


def test_a_gaussian_shell_by_shell():
  """Bins of a density that depends on r alone are integrals over shells."""
  peak, sigma, voxels = 4.0, 0.7, Grid(80, 0.1)
  r2_G = (grid.centres(voxels) ** 2).sum(1)
  rho_G = peak * np.exp(-r2_G / (2 * sigma**2))
  found = log_histogram(rho_G, voxels.voxel_volume)

  r = np.linspace(0, 4, 4001)
  step = np.log(heights()[1] / heights()[0])
  log_rho = np.log(peak) - r**2 / (2 * sigma**2)
  rank = (log_rho - np.log(heights()[0])) / step
  spline = interpolate.BSpline.basis_element(range(-2, 3), extrapolate=False)
  expected = [
    np.trapezoid(4 * np.pi * r**2 * np.nan_to_num(spline(rank - k)), r)
    for k in range(len(found))
  ]
  np.testing.assert_allclose(found, expected, atol=1e-3 * max(expected))
  assert np.count_nonzero(np.array(expected) > 0.01 * max(expected)) > 8
  # 1 % more height is seen.
  higher = log_histogram(1.01 * rho_G, voxels.voxel_volume)
  assert np.abs(higher - found).max() > 2e-3 * max(expected)


def test_the_same_in_every_frame_box_and_padding():
  found = of_free_atoms(NUMBERS, WATER)
  close = {'rtol': 0, 'atol': 0.01 * found.max()}
  turn = Rotation.from_euler('xyz', [0.3, 1.1, -0.7]).as_matrix()
  np.testing.assert_allclose(
    of_free_atoms(NUMBERS, WATER @ turn.T), found, **close
  )
  # A bond that is longer by a tenth is no frame.
  longer = of_free_atoms(NUMBERS, WATER * 1.1)
  assert np.abs(longer - found).max() > 2 * close['atol']
  exactly = {'rtol': 1e-5, 'atol': 1e-5 * found.max()}
  for same in (
    of_free_atoms(NUMBERS, WATER, max_atoms=7),
    of_free_atoms(NUMBERS, WATER, size=52),
  ):
    np.testing.assert_allclose(same, found, **exactly)


def test_two_molecules_fill_twice_the_space():
  shift = np.array([4.5, 0, 0])
  two = of_free_atoms(
    np.tile(NUMBERS, 2), np.concatenate([WATER - shift, WATER + shift]), 80
  )
  found = of_free_atoms(NUMBERS, WATER)
  np.testing.assert_allclose(two, 2 * found, rtol=0, atol=0.02 * found.max())


def test_space_is_counted_once():
  rho_G = np.geomspace(heights()[1], heights()[-2], 1000)
  np.testing.assert_allclose(log_histogram(rho_G, 0.5).sum(), 500, rtol=1e-5)
  nothing = log_histogram(np.array([0.0, -1.0, 1e9]), 1.0)
  np.testing.assert_array_equal(nothing, 0)
  # Where the first and the last bin end, whatever the rounding.
  step = np.log(heights()[1] / heights()[0])
  ends = heights()[[0, -1]] * np.exp([-2 * step, 2 * step])
  near_G = ends[:, None] * (1 + 1e-7 * np.arange(-20, 21))
  edge = log_histogram(near_G.astype(np.float32), 1.0)
  np.testing.assert_allclose(edge, 0, atol=1e-5)
