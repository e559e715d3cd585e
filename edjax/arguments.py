"""Arguments of public functions: checked, and arrays or plain numbers then."""

import numbers

import numpy as np


def real(name: str, values) -> np.ndarray:
  """Returns real numbers as float64.

  Args:
    name: of the values, for messages.
    values: a number, an array, or lists of numbers of equal lengths.

  Raises:
    ValueError: something else.
  """
  try:
    array = np.asarray(values)
  except ValueError:  # lists of different lengths
    raise ValueError(f'{name} has rows of different lengths') from None
  if array.dtype.kind not in 'biuf':
    others = (
      value
      for value in np.asarray(values, object).flat
      if not isinstance(value, numbers.Real)
    )
    other = next(others, array.dtype)
    plain = isinstance(other, (str, complex, type(None)))
    shown = repr(other)[:40] if plain else f'a {type(other).__name__}'
    raise ValueError(f'{name} must be real numbers, not {shown}')
  return array.astype(np.float64)


def scalar(name: str, value) -> float:
  """Returns one real number as a float; it may be infinite or none.

  Raises:
    ValueError: something else.
  """
  number = real(name, value)
  if number.ndim:
    raise ValueError(f'{name} must be one number, not {list(number.shape)}')
  return float(number)


def array(name: str, values, shape: tuple):
  """Returns an argument as an array of JAX, of the shape that it must have.

  Args:
    name: of the argument, for messages.
    values: an array, traced or not, or lists of numbers.
    shape: lengths of the axes; a letter stands for any.

  Raises:
    ValueError: it is not of real numbers, or has another shape.
  """
  import jax  # here, so that builders do not wait for it

  if not isinstance(values, jax.Array):
    values = jax.numpy.asarray(real(name, values))
  check_shape(name, values, shape)
  return values


def check_shape(name: str, values, shape: tuple) -> None:
  """Raises ValueError for another shape; see `array`."""
  fits = values.ndim == len(shape) and all(
    isinstance(wanted, str) or wanted == length
    for wanted, length in zip(shape, values.shape, strict=True)
  )
  if not fits:
    wanted = ', '.join(map(str, shape))
    raise ValueError(f'{name} must be [{wanted}], not {list(values.shape)}')


def whole(name: str, value) -> int:
  """Returns a whole number as an int.

  Raises:
    ValueError: something else.
  """
  try:
    number = int(value)
  except (TypeError, ValueError, OverflowError):
    number = None
  if number is None or number != value:
    shown = repr(value) if isinstance(value, str) else value
    raise ValueError(f'{name} must be a whole number, not {shown}')
  return number
