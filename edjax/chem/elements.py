"""Symbols, masses and van der Waals radii of H to Cf (sources in the table).

Arrays are indexed by atomic number; entry 0 stands for padding.
"""

import functools
import importlib.resources
import json

import numpy as np

from edjax import arguments

# Radius in Å of the elements to which the source gives none (transition
# metals, lanthanoids, actinoids): a round value in the middle of the range.
DEFAULT_RADIUS_A = 2.0


@functools.cache
def read_table(name: str) -> dict:
  """Reads a table of this folder: its source, and values by element."""
  path = importlib.resources.files('edjax.chem') / 'tables' / f'{name}.json'
  return json.loads(path.read_text(encoding='utf-8'))


_ROWS = read_table('elements')['elements']
SYMBOLS: tuple[str, ...] = ('X', *(row[1] for row in _ROWS))
MASSES = np.array([0.0, *(row[2] for row in _ROWS)])
VDW_RADII = np.array([0.0, *(row[3] or DEFAULT_RADIUS_A for row in _ROWS)])
MAX_NUMBER = len(SYMBOLS) - 1
_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
# Where to draw the line is a convention; this one is gemmi's
# (Element.is_metal): metalloids are no metals, but for Ge, Sb and Po.
_NONMETALS = (
  'H', 'He', 'B', 'C', 'N', 'O', 'F', 'Ne', 'Si', 'P', 'S', 'Cl', 'Ar', 'As',
  'Se', 'Br', 'Kr', 'Te', 'I', 'Xe', 'At', 'Rn',
)  # fmt: skip
METALS = np.array(
  [z for symbol, z in _NUMBERS.items() if symbol not in _NONMETALS], np.int32
)


def atomic_number(symbol: str) -> int:
  """Returns the atomic number of a symbol ('C'; 'CL', 'cl' and 'Cl' all work).

  Raises:
    ValueError: the symbol is not one of H to Cf.
  """
  number = _NUMBERS.get(str(symbol).strip().capitalize())
  if number is None:
    raise ValueError(f'unknown element symbol {symbol!r} (known: H to Cf)')
  return number


def as_numbers(numbers) -> np.ndarray:
  """Returns atomic numbers, in the place of symbols too, as float64.

  Args:
    numbers: numbers or symbols ('C', 'Cl').

  Raises:
    ValueError: an unknown symbol, named with its position, or something else.
  """
  given = np.asarray(numbers, object)
  values = [_number(i, value) for i, value in enumerate(given.flat)]
  return arguments.real('numbers', values).reshape(given.shape)


def _number(position: int, value):
  """Returns the atomic number of a symbol, and other values as they are."""
  if not isinstance(value, str):
    return value
  try:
    return atomic_number(value)
  except ValueError as error:
    raise ValueError(f'atom {position}: {error}') from None


def check_numbers(numbers) -> np.ndarray:
  """Returns atomic numbers as int32, checked.

  Args:
    numbers: [A] whole numbers from 1 to 98, or symbols.

  Raises:
    ValueError: no atom, a wrong shape, or a number outside the table, named
      with its position.
  """
  values = as_numbers(numbers)
  if values.ndim != 1 or values.size == 0:
    raise ValueError(
      f'numbers must be [A] with A >= 1, not {list(values.shape)}'
    )
  bad = ~np.isin(values, np.arange(1, MAX_NUMBER + 1))
  if bad.any():
    i = int(np.argmax(bad))
    raise ValueError(
      f'atom {i}: no element with atomic number {values[i]:g} '
      f'(known: 1 to {MAX_NUMBER})'
    )
  return values.astype(np.int32)


def check_rows(name: str, values, shape: tuple[int, ...]) -> np.ndarray:
  """Returns finite numbers of atoms, a row each, as float64.

  Args:
    name: of the values, for messages.
    values: [A, ...].
    shape: that they must have.

  Raises:
    ValueError: another shape, or a number that is not finite.
  """
  values = arguments.real(name, values)
  if values.shape != shape:
    raise ValueError(f'{name} must be {list(shape)}, not {list(values.shape)}')
  if not np.isfinite(values).all():
    row = int(np.argwhere(~np.isfinite(values))[0][0])
    raise ValueError(
      f'{name} of atom {row} is not finite: {values[row].tolist()}'
    )
  return values
