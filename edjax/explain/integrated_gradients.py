"""Integrated gradients: which inputs make the difference of two outputs.

M. Sundararajan, A. Taly, Q. Yan, Proc. Mach. Learn. Res. 2017, 70, 3319. Along
the straight path x(t) from a reference to the input,

  a_i = integral_0^1 df/dx_i (x(t)) dx_i(t),

and their sum is the difference of the outputs: completeness, which tells how
good the quadrature is.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Where the path is looked at.
EVEN = np.linspace(0, 1, 17)
# From empty space a network's output changes as much from t = 0.001 to 0.01 as
# from 0.1 to 1: transforms such as bins of log x do.
GEOMETRIC = np.concatenate([[0], np.geomspace(1e-4, 1, 64)])


def integrate(
  function: Callable[[Any], jax.Array],
  transform: Callable[[Any], Any],
  start,
  end,
  places_S: np.ndarray = EVEN,
) -> tuple[Any, jax.Array, jax.Array]:
  """Integrates the gradients of function(transform(x)) along a straight path.

  The integral is that of Stieltjes over the transform's values: gradients are
  taken at the middle of an interval, and multiplied with the transform's exact
  differences between its ends, so that its kinks cost no accuracy.

  Args:
    function: what `transform` returns -> [T].
    transform: pytree of arrays -> pytree of arrays [..., n, c], whose numbers
      depend each on a single number of n channels: `Voxelizer.transformed`.
    start: the reference.
    end: the input, a pytree of the same shapes.
    places_S: ends of the intervals, from 0 (the reference) to 1 (the input).

  Returns:
    Attributions, an array [T, ...] for each of the transform's, summed over
    its channels; the outputs for end and start, [T].
  """
  places_S = jnp.asarray(places_S, jnp.float32)

  def at(t):
    return transform(jax.tree.map(lambda x, y: x + t * (y - x), start, end))

  def gradients(values):
    output_T, pull_back = jax.vjp(function, values)
    basis_TT = jnp.eye(len(output_T), dtype=output_T.dtype)
    (slopes,) = jax.vmap(pull_back)(basis_TT)
    return slopes

  def add(carry, ends):
    sums, before = carry
    slopes, after = gradients(at(ends.mean())), at(ends[1])
    sums = jax.tree.map(
      lambda s, slope, a, b: s + (slope * (a - b)[None]).sum((-2, -1)),
      sums, slopes, after, before,
    )  # fmt: skip
    return (sums, after), None

  begin = transform(start)
  nothing = jax.tree.map(
    lambda x: jnp.zeros(x.shape[:-2], x.dtype), jax.eval_shape(gradients, begin)
  )
  ends_S2 = jnp.stack([places_S[:-1], places_S[1:]], axis=1)
  (sums, last), _ = jax.lax.scan(add, (nothing, begin), ends_S2)
  return sums, function(last), function(begin)
