"""Sums of near voxels against the whole product."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import fields
from edjax import grid as grids
from edjax.fields import atom_types
from edjax.grid import Grid
from edjax.kernels import gaussians, gaussians_windowed, truncated_gaussians
from edjax.molecule import Molecule, stack

GRID = Grid(32, 0.75)


def atoms(n, channels=3, half=14.0, seed=0, sigma=(0.4, 1.0)):
  """Atoms in a cube about the origin, on and beyond the edges of the grid."""
  rng = np.random.default_rng(seed)
  coords = rng.uniform(-half, half, (n, 3))
  weights = rng.uniform(-1, 1, (n, channels))
  widths = rng.uniform(*sigma, n)
  return tuple(jnp.asarray(x, jnp.float32) for x in (coords, weights, widths))


def both(terms, grid=GRID, supersample=1, sigma=None):
  near = jax.jit(gaussians_windowed.splat_grid, static_argnums=(3, 4, 5))
  whole = jax.jit(gaussians.splat_grid, static_argnums=(3, 4))
  return near(*terms, grid, supersample, sigma), whole(
    *terms, grid, supersample
  )


def assert_same(got, want):
  """Within the rounding of float32 against the peak."""
  peak = np.abs(want).max()
  assert peak > 0
  np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * peak)


@pytest.mark.parametrize(('channels', 'supersample'), [(1, 2), (3, 1), (20, 1)])
def test_windows_equal_the_whole(channels, supersample):
  # 20 channels have windows narrower along z, the others whole rows.
  assert gaussians_windowed._row(12, GRID, channels) == (
    12 if channels > 3 else 32
  )
  assert_same(*both(atoms(60, channels), supersample=supersample))


@pytest.mark.parametrize('supersample', [1, 2])
def test_one_known_width(supersample):
  coords_A3, weights_AC, _ = atoms(60, channels=6)
  for sigma in (0.3, 0.9):
    terms = coords_A3, weights_AC, jnp.full(60, sigma)
    assert_same(*both(terms, supersample=supersample, sigma=sigma))


def test_a_known_width_that_is_too_small_would_show():
  coords_A3, weights_AC, sigma_A = atoms(60, sigma=(0.8, 1.0))
  got, want = both((coords_A3, weights_AC, sigma_A), sigma=0.3)
  assert np.abs(got - want).max() > 0.01 * np.abs(want).max()


def test_every_atom_counts_alone():
  """On voxels, between them, at corners, outside, and wider than the box."""
  grid = Grid(9, 0.5)
  positions = [0.0, 0.25, -2.0, 2.25, 3.0, -4.1]
  for x in positions:
    for sigma in (0.02, 0.4, 3.0, 50.0):
      coords_A3 = jnp.array([[x, 0.1, -x], [0.0, x, 0.0]], jnp.float32)
      terms = coords_A3, jnp.array([[1.0], [-0.3]]), jnp.full(2, sigma)
      got, want = both(terms, grid)
      # Against the peak of an atom, which may lie outside of the box.
      peak = float(np.max(1 / gaussians.peak_to_integral(terms[2])))
      np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * peak)


def test_what_is_far_or_padding_is_nothing():
  coords_A3, weights_AC, sigma_A = atoms(20)
  far_A3 = jnp.concatenate([coords_A3, coords_A3 + 100, 0 * coords_A3])
  far_AC = jnp.concatenate([weights_AC, weights_AC, 0 * weights_AC])
  near, _ = both((coords_A3, weights_AC, sigma_A))
  got, _ = both((far_A3, far_AC, jnp.tile(sigma_A, 3)))
  np.testing.assert_array_equal(got, near)
  nothing, _ = both((coords_A3 + 100, weights_AC, sigma_A))
  np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize('supersample', [1, 2])
def test_sums_and_their_slopes_equal_the_whole(supersample):
  terms = atoms(40, channels=2)
  options = {'static_argnums': (3, 4)}
  near = jax.jit(gaussians_windowed.splat_grid_and_gradient, **options)
  whole = jax.jit(gaussians.splat_grid_and_gradient, **options)
  for got, want in zip(
    near(*terms, GRID, supersample),
    whole(*terms, GRID, supersample),
    strict=True,
  ):
    assert got.shape == want.shape
    # A derivative d/sigma^2 exp(...) falls off a little later.
    peak = np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * peak)


@pytest.mark.parametrize('slopes', [False, True])
def test_derivatives_are_those_of_the_whole(slopes):
  """In forward and reverse mode, with respect to all terms."""
  terms = atoms(20)
  name = 'splat_grid_and_gradient' if slopes else 'splat_grid'
  mask = np.random.default_rng(1).normal(size=(32, 32, 32, 3))
  mask = jnp.asarray(mask, jnp.float32)

  def loss(module, *terms):
    sums = getattr(module, name)(*terms, GRID)
    flat = [x.reshape(-1, mask.size) for x in jax.tree.leaves(sums)]
    return jnp.sum(jnp.concatenate(flat) @ mask.ravel())

  for mode in (jax.jacrev, jax.jacfwd):
    got, want = (
      jax.jit(mode(functools.partial(loss, module), argnums=(0, 1, 2)))(*terms)
      for module in (gaussians_windowed, gaussians)
    )
    for a, b in zip(got, want, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_vmap_equals_one_by_one():
  batch = jax.tree.map(lambda *x: jnp.stack(x), atoms(9), atoms(9, seed=1))

  def near(*terms):
    return gaussians_windowed.splat_grid(*terms, GRID)

  got = jax.jit(jax.vmap(near))(*batch)
  for i in range(2):
    one = jax.jit(near)(*(x[i] for x in batch))
    np.testing.assert_allclose(got[i], one, rtol=0, atol=1e-6)
  gradient = jax.grad(lambda *terms: jnp.sum(jax.vmap(near)(*terms) ** 2))
  assert np.isfinite(jax.jit(gradient)(*batch)).all()


def test_vmap_of_slopes_with_weights_in_common():
  coords_BA3 = jnp.stack([atoms(9)[0], atoms(9, seed=1)[0]])
  _, weights_AC, sigma_A = atoms(9)

  def near(coords_A3):
    return gaussians_windowed.splat_grid_and_gradient(
      coords_A3, weights_AC, sigma_A, GRID
    )

  got = jax.jit(jax.vmap(near))(coords_BA3)
  for i, coords_A3 in enumerate(coords_BA3):
    want = gaussians.splat_grid_and_gradient(
      coords_A3, weights_AC, sigma_A, GRID
    )
    for mine, theirs in zip(got, want, strict=True):
      assert_same(mine[i], theirs)


def test_keeps_dtypes_under_strict_promotion(strict_promotion):
  vox, slopes = gaussians_windowed.splat_grid_and_gradient(*atoms(3), GRID)
  assert vox.dtype == slopes.dtype == jnp.float32
  assert gaussians_windowed.splat_grid(*atoms(3), GRID, 2).dtype == jnp.float32


def test_double_precision_loses_no_more_than_float32(x64):
  terms = tuple(jnp.asarray(x, jnp.float64) for x in atoms(40))
  got, want = both(terms)
  assert got.dtype == jnp.float64
  np.testing.assert_allclose(got, want, rtol=0, atol=5e-7 * np.abs(want).max())


def truncated(terms, grid=GRID, supersample=1, sigma=None):
  near = jax.jit(gaussians_windowed.splat_grid, static_argnums=(3, 4, 5, 6))
  whole = jax.jit(truncated_gaussians.splat_grid, static_argnums=(3, 4))
  return near(*terms, grid, supersample, sigma, True), whole(
    *terms, grid, supersample
  )


@pytest.mark.parametrize('supersample', [1, 2])
@pytest.mark.parametrize('channels', [1, 6, 20])
def test_truncated_windows_equal_the_whole(channels, supersample):
  """Windows of several sizes and, of one known width, of one."""
  terms = atoms(60, channels)
  got, want = truncated(terms, supersample=supersample)
  assert_same(got, want)
  coords_A3, weights_AC, _ = terms
  for sigma in (0.3, 0.9):
    same = coords_A3, weights_AC, jnp.full(60, sigma)
    assert_same(*truncated(same, supersample=supersample, sigma=sigma))
  # Control: whole Gaussians are others.
  whole, _ = both(terms, supersample=supersample)
  assert np.abs(whole - got).max() > 1e-3 * np.abs(want).max()


def test_every_truncated_atom_counts_alone():
  grid = Grid(9, 0.5)
  for x in (0.0, 0.25, -2.0, 2.25, 3.0, -4.1):
    for sigma in (0.1, 0.4, 3.0):
      coords_A3 = jnp.array([[x, 0.1, -x], [0.0, x, 0.0]], jnp.float32)
      terms = coords_A3, jnp.array([[1.0], [-0.3]]), jnp.full(2, sigma)
      got, want = truncated(terms, grid, sigma=sigma)
      peak = float(np.max(1 / gaussians.peak_to_integral(terms[2])))
      np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * peak)


def test_truncated_windows_are_smaller():
  grid = Grid(48, 0.5)
  assert gaussians_windowed.edge(0.5, grid, truncated=True) == 7
  assert gaussians_windowed.edge(0.5, grid) == 12
  # Sub-points reach a quarter of a voxel farther, on either side.
  assert gaussians_windowed.edge(0.5, grid, 2, truncated=True) == 7
  assert gaussians_windowed.edge(0.46, grid, truncated=True) == 6
  assert gaussians_windowed.edge(0.46, grid, 2, truncated=True) == 7


def test_derivatives_of_truncated_windows_are_those_of_the_whole():
  terms = atoms(20)
  mask = np.random.default_rng(1).normal(size=(32, 32, 32, 3))
  mask = jnp.asarray(mask, jnp.float32)

  def near(*terms):
    vox = gaussians_windowed.splat_grid(*terms, GRID, truncated=True)
    return jnp.sum(vox * mask)

  def whole(*terms):
    return jnp.sum(truncated_gaussians.splat_grid(*terms, GRID) * mask)

  for mode in (jax.jacrev, jax.jacfwd):
    got, want = (jax.jit(mode(f, (0, 1, 2)))(*terms) for f in (near, whole))
    for a, b in zip(got, want, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


def test_vmap_of_truncated_windows_equals_one_by_one():
  batch = jax.tree.map(lambda *x: jnp.stack(x), atoms(9), atoms(9, seed=1))
  got = jax.jit(
    jax.vmap(lambda *t: gaussians_windowed.splat_grid(*t, GRID, truncated=True))
  )(*batch)
  for i in range(2):
    assert_same(got[i], truncated(tuple(x[i] for x in batch))[1])


def test_truncated_windows_keep_dtypes(strict_promotion):
  for supersample in (1, 2):
    vox = gaussians_windowed.splat_grid(
      *atoms(3), GRID, supersample, truncated=True
    )
    assert vox.dtype == jnp.float32


def test_where_windows_pay():
  assert gaussians_windowed.pays(0.5, Grid(24, 0.5), 6)
  assert gaussians_windowed.pays(0.5, Grid(48, 0.25), 6)
  assert gaussians_windowed.pays(0.5, Grid(48, 0.5), 14)
  # Rows of 24 numbers; windows that fill the box.
  assert not gaussians_windowed.pays(0.5, Grid(24, 0.5), 1)
  assert not gaussians_windowed.pays(1.5, Grid(24, 0.5), 6)
  assert not gaussians_windowed.pays(0.5, Grid(4, 0.5), 20)
  # No product is faster.
  assert gaussians_windowed.pays(1.5, Grid(24, 0.5), 1, truncated=True)


def pocket(n=150):
  rng = np.random.default_rng(2)
  return Molecule.from_arrays(
    rng.choice([1, 6, 7, 8, 30], n),
    rng.uniform(-14, 14, (n, 3)),
    max_atoms=n + 5,
    center=False,
    groups=(np.arange(n) >= 20).astype(int),
    b_factors=rng.uniform(0, 40, n),
  )


@pytest.mark.parametrize(
  ('field', 'field_grid', 'options'),
  [
    (fields.atoms, fields.atoms_grid, {}),
    (fields.atoms, fields.atoms_grid, {'groups': True, 'width': 0.3}),
    (fields.atoms, fields.atoms_grid, {'groups': True, 'truncated': True}),
    (fields.valence, fields.valence_grid, {'truncated': True}),
    (fields.promolecule, fields.promolecule_grid, {'b_iso': 25.0}),
    (
      fields.promolecule,
      fields.promolecule_grid,
      {'b_iso': 25.0, 'groups': True, 'use_b_factors': True},
    ),
    (
      fields.promolecule,
      lambda *a, **k: fields.promolecule_and_gradient_grid(*a, **k)[0],
      {'b_iso': 25.0, 'groups': True},
    ),
    (fields.shape, fields.shape_grid, {}),
  ],
)
def test_fields_of_a_pocket_are_the_same_on_points(field, field_grid, options):
  grid = Grid(48, 0.5)
  mol = pocket()
  got = jax.jit(lambda m: field_grid(m, grid, **options))
  assert 'custom_vmap_call' in str(jax.make_jaxpr(got)(mol))
  points_G3 = grids.centres(grid)
  want = field(mol, points_G3[::37], **options)
  got = np.asarray(got(mol))
  got = got.reshape(len(points_G3), *want.shape[1:])[::37]
  np.testing.assert_allclose(got, want, atol=3e-6 * np.abs(want).max())


def test_batches_of_small_molecules_are_the_same():
  """Voxels of atom types of a molecule in a box of 12 Å."""
  molecules = [
    Molecule.from_arrays(
      [6, 1, 1, 8, 9, 16][:n],
      np.random.default_rng(n).normal(size=(n, 3)) * 2,
      max_atoms=8,
    )
    for n in (1, 4, 6)
  ]
  grid = Grid(24, 0.5)
  got = jax.jit(jax.vmap(lambda m: fields.atoms_grid(m, grid)))
  got = got(stack(molecules))
  for vox, mol in zip(got, molecules, strict=True):
    want = gaussians.splat_grid(
      *atom_types._atom_terms(mol, fields.ELEMENTS, 0.5, False), grid
    )
    assert_same(vox, want)
