"""Safe derivatives and chunked mapping, in one place.

`jnp.linalg.norm` has a NaN gradient at zero, and `sqrt(sum(x**2) + eps)`
changes the value everywhere. The form below (double where) is exact, and its
derivative at zero is zero. The inner placeholder is 1, not 0: with 0 the
discarded branch still makes an inf, which `jax_debug_nans` reports.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST


def safe_sqrt(x: jax.Array) -> jax.Array:
  """Returns the square root of x >= 0, with derivative 0 where x is 0.

  Args:
    x: any shape, not negative.

  Returns:
    sqrt(x), same shape; NaN where x is NaN or negative.
  """
  # Not x > 0: that would take NaN for 0 and hide it.
  zero = x == 0
  return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_norm(x: jax.Array, axis: int = -1) -> jax.Array:
  """Returns the norm along an axis, with gradient 0 at the zero vector.

  Args:
    x: any shape.
    axis: the axis that is summed over.

  Returns:
    The norm; the shape of x without `axis`.
  """
  return safe_sqrt(jnp.sum(x * x, axis=axis))


def batched(f: Callable, chunk: int = 0) -> Callable:
  """Maps f over a leading axis of its argument in chunks.

  On a CPU one molecule at a time stays in the cache and takes half the time
  of a whole batch; an accelerator wants the whole batch.

  Args:
    f: pytree -> pytree, written for one example.
    chunk: examples at a time; 0 chooses when the program is lowered: 1 on
      CPU, the whole batch elsewhere.

  Returns:
    The function over batches (leading axis B on every leaf).
  """
  if chunk < 0:
    raise ValueError(f'chunk must be 0 or more, not {chunk}')

  def mapped(xs):
    if chunk:
      return jax.lax.map(f, xs, batch_size=chunk)
    return jax.lax.platform_dependent(
      xs,
      cpu=lambda xs: jax.lax.map(f, xs),
      default=jax.vmap(f),
    )

  return mapped
