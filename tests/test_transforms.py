"""Functions of a field's values, and the means that voxels hold of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import fields, geometry, grid, transforms
from edjax.grid import Grid
from edjax.molecule import Molecule
from edjax.voxelize import make_voxelizer

X = jnp.array([-2.0, -0.25, 0.0, 0.04, 1.0, 9.0])
GRID = Grid(8, 0.9)
WATER = [8, 1, 1], [[0.0, 0.0, 0.1], [0.76, 0.0, -0.48], [-0.76, 0.0, -0.48]]


def _apply(transform, x=X):
  return np.concatenate(
    [np.asarray(term.function(x)) for term in transforms.parse(transform)], -1
  )


@pytest.mark.parametrize(
  ('transform', 'expected'),
  [
    ('none', X),
    ('log1p', np.log1p(np.maximum(X, -0.9))),
    ('arcsinh', np.arcsinh(X)),
    ('power:0.5', np.sign(X) * np.abs(X) ** 0.5),
    ('power:1.5', np.sign(X) * np.abs(X) ** 1.5),
    ('power:2', np.sign(X) * np.abs(X) ** 2),
    ('power:1/3', np.cbrt(X)),
    ('power:4/3', np.cbrt(X) ** 4 * np.sign(X)),
  ],
)
def test_values(transform, expected):
  known = X > -1 if transform == 'log1p' else X < np.inf
  got = _apply(transform)
  assert got.shape == (len(X), 1)
  np.testing.assert_allclose(
    got[known, 0], np.asarray(expected)[known], rtol=2e-6
  )


def test_terms_stand_side_by_side():
  got = _apply('none+power:2+bins:3', jnp.array([0.5, 3.0]))
  assert got.shape == (2, 5)
  np.testing.assert_allclose(got[:, :2], [[0.5, 0.25], [3, 9]], rtol=1e-6)


@pytest.mark.parametrize('power', ['0.5', '1', '1.5', '2', '4/3'])
def test_slopes_are_finite_and_right(power):
  (term,) = transforms.parse(f'power:{power}')
  slope = jax.vmap(jax.grad(lambda x: term.function(x)[0]))(X)
  p = eval(power)
  expected = p * np.abs(np.where(X == 0, 1, X)) ** (p - 1)
  at_zero = np.asarray(X) == 0
  np.testing.assert_allclose(
    np.asarray(slope)[~at_zero], expected[~at_zero], rtol=1e-5
  )
  assert np.asarray(slope)[at_zero] == 0


def test_bins_share_each_value():
  centres = transforms.bin_centres(6)
  np.testing.assert_allclose(
    transforms.soft_bins(jnp.asarray(centres, jnp.float32), 6),
    np.eye(6),
    atol=2e-5,
  )
  # Between the first and the last centre the shares of a value are one whole;
  # half way between two, in log x, each has a half.
  between = np.geomspace(centres[0], centres[-1], 50)
  shares = np.asarray(transforms.soft_bins(jnp.asarray(between), 6))
  np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
  middle = np.sqrt(centres[2] * centres[3])
  np.testing.assert_allclose(
    transforms.soft_bins(jnp.float32(middle), 6),
    [0, 0, 0.5, 0.5, 0, 0],
    atol=1e-5,
  )
  # Vacuum is in none, and what is beyond the last centre in the last alone.
  outer = jnp.array([0.0, centres[0] ** 2 / centres[1], 100 * centres[-1]])
  np.testing.assert_allclose(
    transforms.soft_bins(outer, 6),
    [[0] * 6, [0] * 6, [0] * 5 + [1]],
    atol=1e-5,
  )


@pytest.mark.parametrize(
  ('transform', 'complaint'),
  [
    ('sqrt', 'unknown transform'),
    ('none+', 'unknown transform'),
    ('power:-1', 'unknown transform'),
    ('power:0', 'above 0'),
    ('power:1/0', 'above 0'),
    ('power:9', 'at most 8'),
    ('bins:1', '2 to 64 bins'),
    ('bins:65', '2 to 64 bins'),
    ('none+none', 'a term twice'),
  ],
)
def test_wrong_transforms_are_refused(transform, complaint):
  with pytest.raises(ValueError, match=complaint):
    transforms.parse(transform)


def test_bins_of_maps_beside_what_keeps_the_sign():
  for transform in ('none+bins:4', 'arcsinh+bins:4'):
    made = make_voxelizer(
      ('density',), GRID, density='map', transforms={'density': transform}
    )
    assert made.num_channels == 5
  for transform in ('bins:4', 'none+log1p'):
    with pytest.raises(ValueError, match='either sign'):
      make_voxelizer(
        ('density',), GRID, density='map', transforms={'density': transform}
      )
  below = np.asarray(transforms.soft_bins(np.array([-3.0, -1e-3]), 4))
  np.testing.assert_allclose(below, 0, atol=1e-6)


@pytest.mark.parametrize('transform', ['log1p', 'bins:4', 'none+bins:4'])
def test_no_logarithm_of_values_of_either_sign(transform):
  for channel, density in (('noise', 'promolecule'), ('density', 'charge')):
    with pytest.raises(ValueError, match='either sign'):
      make_voxelizer(
        (channel,), GRID, density=density, transforms={channel: transform}
      )


def _molecule(numbers_coords=WATER):
  return Molecule.from_arrays(*map(np.array, numbers_coords))


@pytest.mark.parametrize(
  'transform', ['arcsinh', 'power:0.5', 'none+bins:4', 'none']
)
def test_a_voxel_holds_the_mean_of_the_transform(transform):
  """Against sub-points that are evaluated one by one."""
  f = make_voxelizer(
    ('shape', 'density'), GRID, density='promolecule', supersample=3,
    transforms={'density': transform}, b_iso=20.0, scales=(1.0, 0.5),
  )  # fmt: skip
  mol = _molecule()
  vox = np.asarray(jax.jit(f)(mol))
  fine = GRID.refine(3)
  rho_G = fields.promolecule(mol, grid.centres(fine), b_iso=20.0)
  values = _apply(transform, rho_G / 0.5)
  blocks = values.reshape(8, 3, 8, 3, 8, 3, -1)
  np.testing.assert_allclose(
    vox[..., 1:], blocks.mean((1, 3, 5)), rtol=2e-5, atol=1e-6
  )
  assert vox.shape[-1] == f.num_channels == 1 + values.shape[-1]
  # Negative control: the transform of the mean is something else.
  if transform != 'none':
    mean = (rho_G / 0.5).reshape(8, 3, 8, 3, 8, 3).mean((1, 3, 5))
    assert np.abs(vox[..., 1:] - _apply(transform, mean)).max() > 0.01


def test_bins_turn_less_when_they_are_taken_at_sub_points():
  """The sum of a bin over the grid varies with the pose, and ours varies less.

  Bins of means of voxels are what a transform after the mean would give.
  """
  f = make_voxelizer(
    ('density',), GRID, density='promolecule', supersample=3, b_iso=4.0,
    transforms={'density': 'bins:6'}, scales=(0.5,),
  )  # fmt: skip
  plain = make_voxelizer(
    ('density',), GRID, density='promolecule', supersample=3, b_iso=4.0,
    scales=(0.5,),
  )  # fmt: skip
  before, after = [], []
  for key in jax.random.split(jax.random.key(0), 8):
    mol = geometry.rotate(_molecule(), geometry.random_rotation(key))
    before.append(np.asarray(jax.jit(f)(mol)).sum((0, 1, 2)))
    means = np.asarray(jax.jit(plain)(mol))[..., 0]
    after.append(np.asarray(transforms.soft_bins(means, 6)).sum((0, 1, 2)))
  # The bins that a voxel's size matters for: those near the nuclei.
  spread_before, spread_after = np.std(before, 0)[2:], np.std(after, 0)[2:]
  assert spread_before.mean() < 0.5 * spread_after.mean()


def test_density_beside_its_gradient_is_pooled_where_it_is_plain():
  options = {'density': 'promolecule', 'supersample': 2, 'b_iso': 20.0}
  both = make_voxelizer(
    ('density', 'gradient'), GRID, transforms={'gradient': 'arcsinh'}, **options
  )
  alone = make_voxelizer(('density',), GRID, **options)
  assert both.at_sub_points == (False, True)
  mol = _molecule()
  np.testing.assert_allclose(
    np.asarray(jax.jit(both)(mol))[..., 0],
    np.asarray(jax.jit(alone)(mol))[..., 0],
    rtol=1e-5,
    atol=1e-7,
  )


def test_names_tell_the_terms_of_a_transform():
  f = make_voxelizer(
    ('density', 'shape'), GRID, density='promolecule',
    transforms={'density': 'none+bins:2', 'shape': 'power:2'},
  )  # fmt: skip
  assert f.raw_names == ('density', 'shape')
  assert f.channel_names == (
    'density_none', 'density_bins:2[0]', 'density_bins:2[1]', 'shape',
  )  # fmt: skip
