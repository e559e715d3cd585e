"""Isotropic kernels are tied kernels, and commute with turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from edjax.models import isotropic
from edjax.models.conv import Conv3D
from edjax.models.isotropic import IsotropicConv3D


def normal(seed, shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def relative(actual, expected):
  return np.abs(actual - expected).max() / np.abs(expected).max()


# Generators of the 48 symmetries of a cube, as motions of grids.
GENERATORS = {
  'quarter turn about x': lambda v: np.rot90(v, axes=(2, 3)),
  'quarter turn about y': lambda v: np.rot90(v, axes=(3, 1)),
  'quarter turn about z': lambda v: np.rot90(v, axes=(1, 2)),
  'reflection': lambda v: v[:, ::-1],
}


@pytest.mark.parametrize(
  ('module', 'commutes'),
  [
    (IsotropicConv3D(5), True),
    (IsotropicConv3D(5, 2), True),
    (Conv3D(5), False),
  ],
  ids=['isotropic', 'isotropic, blocks', 'free'],
)
def test_isotropic_kernels_commute_with_the_symmetries_of_a_cube(
  module, commutes
):
  vox = normal(0, (2, 8, 8, 8, 3))
  variables = module.init(jax.random.key(0), vox)
  variables['params']['bias'] = normal(1, 5)

  def f(vox):
    return np.asarray(module.apply(variables, vox.copy()))

  for name, move in GENERATORS.items():
    assert np.abs(move(vox) - vox).max() > 1
    change = relative(f(move(vox)), move(f(vox)))
    assert (change < 1e-5) == commutes, name
    assert commutes or change > 0.1, name


def tied_convolution(vox, kernel_NCF, block):
  """By hand: the kernel on the fine grid, strided as blocks are.

  Orbits are told apart by the sum of fourth powers of an offset: (3, 3, 3) and
  (5, 1, 1) of 6^3 are at one distance.
  """
  size = 3 * block
  axis = 2 * np.arange(size) - (size - 1)
  fourth_XYZ = sum(a**4 for a in np.meshgrid(*(axis,) * 3, indexing='ij'))
  orbit_XYZ = isotropic.orbits(size)
  kernel = jnp.zeros((size,) * 3 + kernel_NCF.shape[1:])
  for fourth in np.unique(fourth_XYZ):
    here = fourth_XYZ == fourth
    (n,) = np.unique(orbit_XYZ[here])
    assert isotropic.orbit_sizes(size)[n] == here.sum()
    kernel = kernel.at[np.nonzero(here)].set(kernel_NCF[n] / here.sum())
  return lax.conv_general_dilated(
    vox, kernel, (block,) * 3, [(block, block)] * 3,
    dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'),
  )  # fmt: skip


@pytest.mark.parametrize('block', [1, 2, 3])
def test_isotropic_convolution_is_one_with_a_tied_kernel(block):
  """Values, and gradients with respect to the input and the kernel."""
  channels, features = 2, 4
  grid = 2 * block, 3 * block, 4 * block
  vox = jnp.asarray(normal(0, (2, *grid, channels)))
  count = len(isotropic.orbit_sizes(3 * block))
  kernel_NCF = jnp.asarray(normal(1, (count, channels, features)))
  results = []
  for convolve in (isotropic.isotropic_conv, tied_convolution):
    out, pull_back = jax.vjp(lambda v, k, f=convolve: f(v, k, block),
                             vox, kernel_NCF)  # fmt: skip
    results.append((out, *pull_back(jnp.asarray(normal(2, out.shape)))))
  for actual, expected in zip(*results, strict=True):
    assert actual.shape == expected.shape
    assert relative(actual, expected) < 3e-6


def test_orbits_of_kernels():
  orbit_XYZ, count_N = isotropic.orbits(3), isotropic.orbit_sizes(3)
  assert list(count_N) == [1, 6, 12, 8]  # centre, faces, edges, corners
  found = [orbit_XYZ[i] for i in ((1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 0))]
  assert found == [0, 1, 2, 3]
  count_N = isotropic.orbit_sizes(6)
  assert (len(count_N), count_N.sum()) == (10, 6**3)
  # Three equal distances: 8 offsets; two: 24; none: 48.
  assert sorted(count_N) == [8, 8, 8, *[24] * 6, 48]


@pytest.mark.parametrize('block', [1, 2])
def test_isotropic_kernels_learn_every_weight_and_keep_sizes(block):
  vox = jnp.asarray(normal(0, (2, 12, 12, 12, 3)))
  module = IsotropicConv3D(64, block)
  variables = module.init(jax.random.key(0), vox)
  gradient = jax.grad(lambda v: (module.apply(v, vox) ** 2).sum())(variables)
  for leaf in jax.tree.leaves(gradient):
    assert (leaf != 0).all()
  # Equal values keep their size, away from the faces.
  inside = module.apply(variables, jnp.ones_like(vox))[:, 2:-2, 2:-2, 2:-2]
  assert np.std(inside) == pytest.approx(1, rel=0.2)


def test_half_precision_sums_in_single():
  """bfloat16 in and out, within its own rounding of float32's numbers."""
  vox = jnp.asarray(normal(0, (2, 6, 6, 6, 3)), jnp.bfloat16)
  module = IsotropicConv3D(8)
  variables = module.init(jax.random.key(0), vox)
  half = module.clone(dtype=jnp.bfloat16)

  def value_and_gradient(module):
    return jax.value_and_grad(
      lambda v: module.apply(variables, v).astype(jnp.float32).sum()
    )(vox)

  out = half.apply(variables, vox)
  assert out.dtype == jnp.bfloat16
  exact = module.apply(variables, vox)
  assert relative(out.astype(jnp.float32), exact) < 0.02
  (_, actual), (_, expected) = map(value_and_gradient, (half, module))
  assert actual.dtype == jnp.bfloat16
  difference = relative(*(g.astype(jnp.float32) for g in (actual, expected)))
  assert difference < 0.02


def test_refuses_a_grid_that_is_no_whole_number_of_blocks():
  with pytest.raises(ValueError, match=r'\(4, 5, 4\) voxels .* blocks of 2'):
    isotropic.isotropic_conv(jnp.ones((1, 4, 5, 4, 1)), jnp.ones((10, 1, 2)), 2)
