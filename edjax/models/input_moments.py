"""Powers of the input, and sums and moments of them over the grid."""

import jax
import jax.numpy as jnp

from edjax.kernels import numerics

# A molecule fills about a quarter of its box: with these factors the sum and
# the moments of features of size 1 inside the molecule have size 1. Radii are
# in half edges of the box, and r^2 averages 0.2 over a molecule.
_SUM_FACTOR = 4.0
_FIRST_FACTOR = 10.0
_SECOND_FACTOR = 20.0
# Twice the powers of the input that a network sees: 0.5, 1, 1.5, 2, 3.
_HALF_POWERS = (1, 2, 3, 4, 6)
# The root of x is x / (x^2 + a^2)^(1/4) with this a, since the slope of a root
# at 0 is infinite, and vacuum would have larger gradients than any atom. In
# units of the input's root mean square; a molecule's surface is often drawn at
# 0.03, where this is 3 % less than the root.
_SMALL = 1e-2


def spatial_moments(vox_BXYZC: jax.Array) -> jax.Array:
  """Returns sum, dipole and second moment of every channel, of size about 1.

  With r in half edges of the box from its centre and < > the mean over
  voxels: 4 <f>, 10 |<f r>|, 20 <f r^2>. All are unchanged by a rotation of
  what is in the box, and linear in the amount of matter.

  Args:
    vox_BXYZC: values on a grid; computed in at least float32.

  Returns:
    Shape (batch, 3 * channels): sums, first moments, second moments.
  """
  vox_BXYZC = jnp.asarray(vox_BXYZC)
  dtype = jnp.promote_types(vox_BXYZC.dtype, jnp.float32)
  means, *weighted = _means(vox_BXYZC.astype(dtype), 3)
  first_B3C, second_BC = [weighted[0].mean((1, 2))], weighted[1].mean((1, 2))
  for axis in (2, 1):
    others = tuple(range(1, axis))
    means, once, twice = _means(means, axis)
    first_B3C.append(once.mean(others))
    second_BC += twice.mean(others)
  norm_BC = numerics.safe_norm(jnp.stack(first_B3C), axis=0)
  return jnp.concatenate(
    [
      _SUM_FACTOR * means,
      _FIRST_FACTOR * norm_BC,
      _SECOND_FACTOR * second_BC,
    ],
    axis=-1,
  )


def _means(field: jax.Array, axis: int) -> list[jax.Array]:
  """Returns means along an axis of a field times 1, r and r^2.

  Args:
    field: values on a grid.
    axis: along which r is measured, in half edges of the box.
  """
  n = field.shape[axis]
  r = (2 * jnp.arange(n, dtype=field.dtype) + 1 - n) / n
  r = r.reshape([-1 if i == axis else 1 for i in range(field.ndim)])
  return [part.mean(axis) for part in (field, field * r, field * r**2)]


def powers(vox_BXYZC: jax.Array) -> tuple[jax.Array, ...]:
  """Returns powers 0.5, 1, 1.5, 2 and 3 of the input, with its sign.

  The root, also that in x^1.5, has a finite slope at 0, see `_SMALL`.

  A density's integral only counts electrons; integrals of its powers tell
  elements and bonds apart, as density functionals do (the local exchange
  energy is an integral of rho^(4/3)).

  Args:
    vox_BXYZC: values on a grid.

  Returns:
    One array of the same shape for each power, at least float32.
  """
  dtype = jnp.promote_types(vox_BXYZC.dtype, jnp.float32)
  vox_BXYZC = vox_BXYZC.astype(dtype)
  size_BXYZC = jnp.abs(vox_BXYZC)
  root_BXYZC = vox_BXYZC / jnp.sqrt(jnp.sqrt(size_BXYZC**2 + _SMALL**2))
  # Powers of fractions take ten times as long as products and roots.
  return tuple(
    size_BXYZC ** (halves // 2) * root_BXYZC
    if halves % 2
    else size_BXYZC ** (halves // 2 - 1) * vox_BXYZC
    for halves in _HALF_POWERS
  )


def power_moments(vox_BXYZC: jax.Array) -> jax.Array:
  """Returns `spatial_moments` of `powers` of the input.

  Args:
    vox_BXYZC: values on a grid.

  Returns:
    Shape (batch, 3 * channels * powers), at least float32.
  """
  moments = [spatial_moments(power) for power in powers(vox_BXYZC)]
  return jnp.concatenate(moments, axis=-1)
