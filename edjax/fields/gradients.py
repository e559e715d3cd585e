"""The length of the gradient of any field, by automatic differentiation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from edjax import geometry
from edjax.kernels.numerics import safe_norm


def value_and_gradient_magnitude(field: Callable) -> Callable:
  """Returns a field with the length of its gradient, from one evaluation.

  The gradient is exact, by forward mode through a translation of the whole
  molecule; the three directions share the field's own value. On a grid with
  sub-points it is the gradient of the cell means. Where it is zero, so is its
  derivative (`numerics.safe_norm`).

  Args:
    field: f(mol, ...) -> array.

  Returns:
    f(mol, ...) -> (value, magnitude), both of the field's shape; the
    magnitude in the field's unit per Å.
  """

  def both(mol, *args, **kwargs):
    def moved(shift_3):
      return field(geometry.translate(mol, shift_3), *args, **kwargs)

    dtype = mol.coords_A3.dtype
    value, tangents = jax.vmap(
      lambda unit_3: jax.jvp(moved, (jnp.zeros(3, dtype),), (unit_3,)),
      out_axes=(None, 0),
    )(jnp.eye(3, dtype=dtype))
    return value, safe_norm(tangents, axis=0)

  return both


def gradient_magnitude(field: Callable) -> Callable:
  """Returns the length of a field's gradient, as a field of the same signature.

  Args:
    field: f(mol, ...) -> array, on points or on a grid.

  Returns:
    f(mol, ...) -> array of the same shape, the field's unit per Å; see
    `value_and_gradient_magnitude`.
  """
  both = value_and_gradient_magnitude(field)

  def magnitude(mol, *args, **kwargs):
    return both(mol, *args, **kwargs)[1]

  return magnitude
