"""Rigid motions of molecules: values that can be kept, composed, inverted.

A rotation matrix R moves column vectors, x' = R x. Orbitals and map frames
move with the atoms, so that a field of the moved molecule is the moved field.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import Molecule

# The d functions xy, yz, z2, xz, x2-y2 as quadratic forms r^T Q r, scaled to
# tr(Q Q) = 1. GFN2 normalises all five alike, so that rotating them is
# rotating Q: D_mn = tr(Q_m R Q_n R^T).
_H = np.sqrt(0.5)
_QUADRATIC_FORMS = np.array(
  [
    [[0, _H, 0], [_H, 0, 0], [0, 0, 0]],
    [[0, 0, 0], [0, 0, _H], [0, _H, 0]],
    np.diag([-1, -1, 2]) / np.sqrt(6),
    [[0, 0, _H], [0, 0, 0], [_H, 0, 0]],
    np.diag([1, -1, 0]) / np.sqrt(2),
  ]
)

# Largest error of R R^T of a rotation matrix: those of files may have four
# decimals.
_ROTATION_TOLERANCE = 5e-4


def random_rotation(key: jax.Array) -> jax.Array:
  """Returns a rotation drawn uniformly (Haar measure) from SO(3).

  A normalised 4-D Gaussian vector is a uniform unit quaternion, and that a
  uniform rotation (K. Shoemake, Graphics Gems III, 1992, p. 124). Uniform
  Euler angles would not be.

  Args:
    key: a PRNG key.

  Returns:
    rotation_33.
  """
  quaternion = jax.random.normal(key, (4,))
  return quaternion_to_rotation(quaternion)


def quaternion_to_rotation(quaternion_4: jax.Array) -> jax.Array:
  """Returns the rotation of a quaternion (w, x, y, z), normalised here.

  Args:
    quaternion_4: [4], not zero.

  Returns:
    rotation_33.

  Raises:
    ValueError: another shape, or zero.
  """
  known = _known('quaternion_4', quaternion_4)
  quaternion_4 = arguments.array('quaternion_4', quaternion_4, (4,))
  if known is not None and not known.any():
    raise ValueError('quaternion_4 is zero, which is no rotation')
  q = quaternion_4 / jnp.sqrt(jnp.sum(quaternion_4**2))
  w, x, y, z = q
  return jnp.array(
    [
      [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
      [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
      [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
  )


def random_translation(key: jax.Array, amplitude: float) -> jax.Array:
  """Returns a shift drawn uniformly from the cube [-amplitude, amplitude]^3.

  Args:
    key: a PRNG key.
    amplitude: Å.

  Returns:
    shift_3, Å.
  """
  return jax.random.uniform(key, (3,), minval=-amplitude, maxval=amplitude)


def d_rotation(rotation_33: jax.Array) -> jax.Array:
  """Returns how the five real d functions mix under a rotation.

  Args:
    rotation_33: rotation matrix.

  Returns:
    [5, 5] matrix D; coefficients move as c' = D c, in the order xy, yz, z2,
    xz, x2-y2.

  Raises:
    ValueError: rotation_33 is no rotation, see `rotate`.
  """
  rotation_33 = _checked_rotation(rotation_33)
  forms = jnp.asarray(_QUADRATIC_FORMS, rotation_33.dtype)
  rotated = jnp.einsum(
    'ia,nab,jb->nij', rotation_33, forms, rotation_33, precision=HIGHEST
  )
  return jnp.einsum('mij,nji->mn', forms, rotated, precision=HIGHEST)


def _known(name: str, values) -> np.ndarray | None:
  """Returns the numbers of an argument, or None where they are traced.

  To be called before it becomes an array of JAX, which jit traces.
  """
  if isinstance(values, jax.core.Tracer):
    return None
  return arguments.real(name, values)


def _checked_rotation(rotation_33) -> jax.Array:
  """Returns a rotation matrix as an array; refuses others that are known."""
  known_33 = _known('rotation_33', rotation_33)
  rotation_33 = arguments.array('rotation_33', rotation_33, (3, 3))
  if known_33 is None:
    return rotation_33
  error = np.abs(known_33 @ known_33.T - np.eye(3)).max()
  if not error < _ROTATION_TOLERANCE:
    raise ValueError(
      f'rotation_33 is no rotation: R R^T differs from 1 by {error:.2g}'
    )
  if np.linalg.det(known_33) < 0:
    raise ValueError(
      'rotation_33 is a reflection (its determinant is -1), which would make '
      'another molecule of a chiral one'
    )
  return rotation_33


def rotate(mol: Molecule, rotation_33: jax.Array) -> Molecule:
  """Rotates a molecule about the origin of its frame.

  Args:
    mol: one molecule.
    rotation_33: rotation matrix; its transpose undoes it.

  Returns:
    The molecule with coordinates, orbitals and map frame rotated.

  Raises:
    ValueError: rotation_33 is not [3, 3], or, where it is known before a
      program is compiled, no rotation.
  """
  rotation_33 = _checked_rotation(rotation_33)

  def turn(rows):  # rows are vectors
    matrix = jnp.asarray(rotation_33, rows.dtype)
    return jnp.einsum('...j,ij->...i', rows, matrix, precision=HIGHEST)

  changes = {'coords_A3': turn(mol.coords_A3)}
  for name in ('orbitals_OL9', 'homo_OL9', 'lumo_OL9'):
    c = getattr(mol, name)
    if c is None:
      continue
    parts = [c[..., :1], turn(c[..., 1:4])]
    if c.shape[-1] == 9:
      d = d_rotation(jnp.asarray(rotation_33, c.dtype))
      parts.append(
        jnp.einsum('...n,mn->...m', c[..., 4:], d, precision=HIGHEST)
      )
    changes[name] = jnp.concatenate(parts, axis=-1)
  if mol.density_map is not None:
    changes['density_map'] = dataclasses.replace(
      mol.density_map,
      origin_3=turn(mol.density_map.origin_3),
      steps_33=turn(mol.density_map.steps_33),
    )
  return dataclasses.replace(mol, **changes)


def translate(mol: Molecule, shift_3: jax.Array) -> Molecule:
  """Moves a molecule: atoms (orbitals with them) and map frame.

  Padding atoms stay at the origin.

  Args:
    mol: one molecule.
    shift_3: Å; its negative undoes it.

  Returns:
    The moved molecule.

  Raises:
    ValueError: shift_3 is not [3].
  """
  shift_3 = arguments.array('shift_3', shift_3, (3,))
  moved_A3 = mol.coords_A3 + shift_3[None, :]
  changes = {
    'coords_A3': jnp.where(mol.mask_A[:, None], moved_A3, mol.coords_A3)
  }
  if mol.density_map is not None:
    changes['density_map'] = dataclasses.replace(
      mol.density_map, origin_3=mol.density_map.origin_3 + shift_3
    )
  return dataclasses.replace(mol, **changes)


class Motions(NamedTuple):
  """Which random motions a molecule makes; hashable, static under jit.

  Attributes:
    rotate: whether it is rotated, uniformly.
    translate: largest shift along each axis, Å; 0: none.
  """

  rotate: bool
  translate: float


def drawn_motion(
  key: jax.Array, index: jax.Array, motions: Motions
) -> tuple[jax.Array | None, jax.Array | None]:
  """Draws a rotation and a shift.

  Args:
    key: of a step, or of a pass over the data.
    index: of the molecule.
    motions: which of them.

  Returns:
    rotation_33 and shift_3 in Å; x' = R x + shift. None for what is not asked
    for.
  """
  rotation_key, shift_key = jax.random.split(jax.random.fold_in(key, index))
  rotation_33 = random_rotation(rotation_key) if motions.rotate else None
  shift_3 = None
  if motions.translate:
    shift_3 = random_translation(shift_key, motions.translate)
  return rotation_33, shift_3


def random_motion(key: jax.Array, mol: Molecule, motions: Motions) -> Molecule:
  """Rotates and shifts a molecule; the key and its index decide how.

  Args:
    key: of a step, or of a pass over the data.
    mol: one molecule.
    motions: which of them.

  Returns:
    The moved molecule.
  """
  rotation_33, shift_3 = drawn_motion(key, mol.index, motions)
  if rotation_33 is not None:
    mol = rotate(mol, rotation_33)
  if shift_3 is not None:
    mol = translate(mol, shift_3)
  return mol
