"""Functions of a field's values, which a voxel holds the mean of.

A transform is written as terms joined by '+', each of which gives channels::

  none        the value itself
  log1p       log(1 + x), for values that are never below 0
  arcsinh     log(x + sqrt(x^2 + 1)), which keeps the sign
  power:p     sign(x) |x|^p
  bins:n      n soft bins of log x, in none of which values below 0 are

Values are divided by the root mean square of their kind of channel before.
"""

import dataclasses
import functools
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

_FUNCTIONS = {
  'none': lambda x: x,
  'log1p': jnp.log1p,
  'arcsinh': jnp.arcsinh,
}
KNOWN = (*_FUNCTIONS, 'power:p', 'bins:n')
# Centres of the first and the last soft bin, in root mean squares over the
# grid. For the embedded molecules' densities in a box of 12 Å these are 2e-3
# and 6 e/Å^3: a molecule's surface is often drawn at 7e-3 (0.001 e/bohr^3,
# Bader et al., J. Am. Chem. Soc. 1987, 109, 7968), and peaks lie at 8 to 10.
_LOWEST, _HIGHEST = 1e-2, 32.0
_MOST_BINS = 64


@dataclasses.dataclass(frozen=True)
class Term:
  """One function of a value, with one channel or several.

  Attributes:
    name: as written.
    function: x of any shape -> values of a shape with a last axis of channels.
    channels: their number.
    linear: whether the mean of the function is the function of the mean.
    of_either_sign: whether it tells values below 0 apart.
    defined_below_0: whether it is a number there.
  """

  name: str
  function: Callable[[jax.Array], jax.Array]
  channels: int = 1
  linear: bool = False
  of_either_sign: bool = True
  defined_below_0: bool = True

  @property
  def names(self) -> tuple[str, ...]:
    """One name for each of its channels."""
    if self.channels == 1:
      return (self.name,)
    return tuple(f'{self.name}[{i}]' for i in range(self.channels))


@functools.lru_cache
def parse(transform: str) -> tuple[Term, ...]:
  """Reads a transform.

  Args:
    transform: terms joined by '+'.

  Returns:
    The terms, in order.

  Raises:
    ValueError: a term is unknown, stands there twice, or has a number out of
      range: a power must be above 0 and at most 8, and there are 2 to 64 bins.
  """
  terms = tuple(_term(text) for text in transform.split('+'))
  if len({term.name for term in terms}) < len(terms):
    raise ValueError(f'the transform {transform!r} has a term twice')
  return terms


def _term(text: str) -> Term:
  if text in _FUNCTIONS:
    function = _FUNCTIONS[text]
    return Term(
      text,
      lambda x: function(x)[..., None],
      linear=text == 'none',
      of_either_sign=text != 'log1p',
      defined_below_0=text != 'log1p',
    )
  kind, _, number = text.partition(':')
  if kind == 'power' and re.fullmatch(r'\d+(\.\d+)?|\d+/\d+', number):
    top, _, bottom = number.partition('/')
    exponent = float(top) / float(bottom or 1) if float(bottom or 1) else 0.0
    if not 0 < exponent <= 8:
      raise ValueError(f'{text}: a power must be above 0 and at most 8')
    return Term(text, lambda x: signed_power(x, exponent)[..., None])
  if kind == 'bins' and number.isdecimal():
    count = int(number)
    if not 2 <= count <= _MOST_BINS:
      raise ValueError(f'{text}: there must be 2 to {_MOST_BINS} bins')
    return Term(
      text,
      functools.partial(soft_bins, count=count),
      channels=count,
      of_either_sign=False,
    )
  raise ValueError(
    f'unknown transform {text!r}; there are {", ".join(KNOWN)}, and several '
    "of them joined by '+'"
  )


def signed_power(x: jax.Array, exponent: float) -> jax.Array:
  """Returns sign(x) |x|^exponent, with a slope of 0 at 0.

  Multiples of a half are products and roots, which take a tenth of the time.
  """
  # 0 is left to the sign: the slope of a root at 0 is infinite.
  size = jnp.abs(jnp.where(x == 0, 1, x))
  whole, half = divmod(exponent, 1)
  if half == 0.5:
    return jnp.sign(x) * size ** int(whole) * jnp.sqrt(size)
  return jnp.sign(x) * size ** (int(whole) if half == 0 else exponent)


def bin_centres(count: int) -> np.ndarray:
  """Returns the centres of soft bins, evenly spaced in their logarithm."""
  return np.geomspace(_LOWEST, _HIGHEST, count)


def soft_bins(x: jax.Array, count: int) -> jax.Array:
  """Sorts values into overlapping bins by their logarithm.

  A bin is a hat: 1 at its centre, falling linearly in log x to 0 at the
  neighbours'. Below the first centre the first one falls on, so that vacuum is
  in none; above the last centre the last one stays 1.

  Args:
    x: values; those below 0 are in no bin.
    count: number of bins, 2 or more.

  Returns:
    Shares, with a last axis of bins.
  """
  first, second, *_ = np.log(bin_centres(count))
  step = second - first
  # Values below the foot of the first hat are in no bin either.
  place = (jnp.log(jnp.maximum(x, np.exp(first - step))) - first) / step
  place = jnp.minimum(place, count - 1)
  number_N = jnp.arange(count, dtype=place.dtype)
  number_N = number_N.reshape((1,) * place.ndim + (-1,))
  return jnp.maximum(0, 1 - jnp.abs(place[..., None] - number_N))
