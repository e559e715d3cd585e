"""Rigid motions: uniform, invertible, and the same for all that they move."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edjax import geometry
from edjax.molecule import DensityMap, Molecule


@functools.cache
def _many_rotations():
  keys = jax.random.split(jax.random.key(0), 20_000)
  draw = jax.jit(jax.vmap(geometry.random_rotation))
  return np.asarray(draw(keys), np.float64)


def _rotations(count):
  return _many_rotations()[:count]


def _uniform_euler(count):
  """Draws three uniform angles: not what random_rotation does."""
  rng = np.random.default_rng(0)
  a, b, c = rng.uniform(0, 2 * np.pi, (3, count))

  def about(axis, angle):
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, i, i] = matrices[:, j, j] = np.cos(angle)
    matrices[:, j, i] = np.sin(angle)
    matrices[:, i, j] = -np.sin(angle)
    return matrices

  return about(2, a) @ about(1, b) @ about(2, c)


def _moment_errors(rotations_N33):
  """Deviations from the Haar measure's moments, in standard errors.

  <R_ij> = 0, <R_ij R_kl> = d_ik d_jl / 3, and the squared trace's mean is 1
  (the trace is a character; its square holds the trivial one once).
  """
  n = len(rotations_N33)
  flat = rotations_N33.reshape(n, 9)
  trace = np.trace(rotations_N33, axis1=1, axis2=2)
  samples = np.concatenate(
    [
      flat,
      (flat[:, :, None] * flat[:, None, :] - np.eye(9) / 3).reshape(n, -1),
      flat**4 - 1 / 5,  # the component of a uniform unit vector
      trace[:, None] ** 2 - 1,
      trace[:, None] ** 4 - 3,
    ],
    axis=1,
  )
  error = samples.std(axis=0) / np.sqrt(n)
  return np.abs(samples.mean(axis=0)) / error


def test_random_rotations_are_rotations():
  rotations = _rotations(200)
  np.testing.assert_allclose(
    rotations @ rotations.transpose(0, 2, 1),
    np.tile(np.eye(3), (200, 1, 1)),
    atol=3e-6,
  )
  np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=3e-6)


def test_random_rotations_are_uniform():
  # 101 moments: the largest of so many normal deviates stays below 5.
  assert _moment_errors(_rotations(20_000)).max() < 5
  assert _moment_errors(_uniform_euler(20_000)).max() > 20


def test_quaternion_of_a_known_rotation():
  # A third of a turn about (1, 1, 1): x to y to z to x.
  matrix = geometry.quaternion_to_rotation(jnp.array([1.0, 1, 1, 1]) * 3)
  np.testing.assert_allclose(matrix @ np.eye(3)[0], np.eye(3)[1], atol=1e-6)
  np.testing.assert_allclose(matrix @ np.eye(3)[1], np.eye(3)[2], atol=1e-6)


def test_random_translation():
  keys = jax.random.split(jax.random.key(0), 4000)
  shifts = jax.vmap(lambda k: geometry.random_translation(k, 0.7))(keys)
  assert np.abs(shifts).max() <= 0.7
  # Variance of a uniform distribution: (2a)^2/12.
  np.testing.assert_allclose(np.var(shifts, axis=0), 0.7**2 / 3, rtol=0.1)
  np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.04)


def _d_functions(r_N3):
  """Written out by hand, all with the same norm on the sphere."""
  x, y, z = r_N3.T
  return np.stack(
    [x * y, y * z, (3 * z * z - 1) / np.sqrt(12), x * z, (x * x - y * y) / 2]
  )


def test_d_rotation_turns_d_functions(x64):
  """f(R^-1 r) of the function with coefficients c has coefficients D c."""
  points = np.random.default_rng(0).normal(size=(50, 3))
  points /= np.linalg.norm(points, axis=1, keepdims=True)
  rotation = _rotations(1)[0]
  rotation, _ = np.linalg.qr(rotation)  # exact to float64
  rotation *= np.linalg.det(rotation)
  d = np.asarray(geometry.d_rotation(jnp.asarray(rotation)))
  turned = _d_functions(points @ rotation)  # R^-1 r
  np.testing.assert_allclose(turned, d.T @ _d_functions(points), atol=1e-12)
  wrong = d @ _d_functions(points)  # the inverse rotation
  assert np.abs(turned - wrong).max() > 0.1


def test_d_rotation_is_a_representation():
  first, second = _rotations(2).astype(np.float32)
  d = geometry.d_rotation
  product = np.asarray(d(jnp.asarray(first @ second)))
  one, two = np.asarray(d(jnp.asarray(first))), np.asarray(d(second))
  np.testing.assert_allclose(product, one @ two, atol=3e-6)
  assert np.abs(product - two @ one).max() > 0.1
  np.testing.assert_allclose(one @ one.T, np.eye(5), atol=3e-6)
  np.testing.assert_allclose(d(jnp.eye(3)), np.eye(5), atol=1e-6)


def _molecule(width=9):
  rng = np.random.default_rng(1)
  return Molecule.from_arrays(
    [16, 8, 1],
    rng.normal(size=(3, 3)),
    orbitals=rng.normal(size=(4, 3, width)),
    density_map=DensityMap(
      jnp.asarray(rng.normal(size=(2, 3, 4))),
      jnp.array([-1.0, 2, 0.5]),
      jnp.asarray(rng.normal(size=(3, 3))),
    ),
    max_atoms=5,
    max_orbitals=6,
  )


def _assert_same(one, other, atol=2e-6):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize('width', [4, 9])
def test_rotation_is_undone_by_its_transpose(width):
  mol = _molecule(width)
  rotation = geometry.random_rotation(jax.random.key(2))
  turned = geometry.rotate(mol, rotation)
  assert np.abs(turned.coords_A3 - mol.coords_A3).max() > 0.1
  assert np.abs(turned.orbitals_OL9 - mol.orbitals_OL9).max() > 0.1
  _assert_same(geometry.rotate(turned, rotation.T), mol)


def test_rotations_compose():
  mol = _molecule()
  first, second = (jnp.asarray(r, jnp.float32) for r in _rotations(2))
  stepwise = geometry.rotate(geometry.rotate(mol, first), second)
  _assert_same(geometry.rotate(mol, second @ first), stepwise, 5e-6)


def test_p_functions_turn_as_vectors():
  mol = _molecule(4)
  vectors = mol.orbitals_OL9[0, :, 1:]
  mol = dataclasses.replace(mol, coords_A3=vectors)
  turned = geometry.rotate(mol, geometry.random_rotation(jax.random.key(3)))
  np.testing.assert_allclose(
    turned.orbitals_OL9[0, :, 1:], turned.coords_A3, atol=2e-6
  )


def _map_points(frame):
  """Where the values of a map lie."""
  index = np.stack(
    np.meshgrid(*map(np.arange, frame.values_XYZ.shape), indexing='ij'), -1
  )
  return np.asarray(frame.origin_3) + index @ np.asarray(frame.steps_33)


def test_map_frames_move_with_the_atoms():
  mol = _molecule()
  rotation = geometry.random_rotation(jax.random.key(4))
  shift = jnp.array([0.5, -2.0, 1.0])
  moved = geometry.translate(geometry.rotate(mol, rotation), shift)
  before, after = _map_points(mol.density_map), _map_points(moved.density_map)
  np.testing.assert_allclose(
    after, before @ np.asarray(rotation).T + np.asarray(shift), atol=5e-6
  )
  np.testing.assert_array_equal(
    moved.density_map.values_XYZ, mol.density_map.values_XYZ
  )
  # Distances from an atom to the map's values stay what they were.
  distances = [
    np.linalg.norm(
      _map_points(m.density_map) - np.asarray(m.coords_A3[0]), axis=-1
    )
    for m in (mol, moved)
  ]
  np.testing.assert_allclose(*distances, atol=5e-6)


def test_translation():
  mol = _molecule()
  shift = jnp.array([0.5, -2.0, 1.0])
  moved = geometry.translate(mol, shift)
  np.testing.assert_allclose(
    moved.coords_A3[:3] - mol.coords_A3[:3], np.tile(shift, (3, 1)), atol=1e-6
  )
  np.testing.assert_array_equal(moved.coords_A3[3:], 0)  # padding stays
  np.testing.assert_array_equal(moved.orbitals_OL9, mol.orbitals_OL9)
  _assert_same(geometry.translate(moved, -shift), mol)


def test_wrong_shapes_are_refused():
  mol = _molecule()
  with pytest.raises(ValueError, match='rotation_33'):
    geometry.rotate(mol, jnp.eye(2))
  with pytest.raises(ValueError, match='shift_3'):
    geometry.translate(mol, jnp.zeros((1, 3)))


def _moved(key, motions, index=0):
  mol = dataclasses.replace(_molecule(), index=np.int32(index))
  return geometry.random_motion(key, mol, geometry.Motions(*motions))


def test_random_motions_are_addressed_by_key_and_example():
  motions, key = (True, 0.3), jax.random.key(5)
  one = _moved(key, motions)
  _assert_same(_moved(key, motions), one, atol=0)
  for other in (
    _moved(jax.random.key(6), motions),
    _moved(key, motions, index=1),
  ):
    assert np.abs(other.coords_A3 - one.coords_A3).max() > 0.1


def test_random_motions_are_those_asked_for():
  mol, key = _molecule(), jax.random.key(5)
  _assert_same(_moved(key, (False, 0.0)), mol, atol=0)
  shifts_A3 = (_moved(key, (False, 0.3)).coords_A3 - mol.coords_A3)[mol.mask_A]
  np.testing.assert_allclose(np.ptp(shifts_A3, axis=0), 0, atol=1e-6)
  assert 0 < np.abs(shifts_A3).max() < 0.3
  # Rotations leave the distances from the origin, and shifts do not.
  distances = np.linalg.norm(mol.coords_A3, axis=1)
  turned = _moved(key, (True, 0.0)).coords_A3
  np.testing.assert_allclose(np.linalg.norm(turned, axis=1), distances, 1e-5)
  assert np.abs(turned - mol.coords_A3).max() > 0.1
  both = _moved(key, (True, 0.3)).coords_A3
  np.testing.assert_allclose((both - turned)[mol.mask_A], shifts_A3, atol=1e-6)
