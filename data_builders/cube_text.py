"""The text of Gaussian cube files.

The format is that of Gaussian's cubegen (https://gaussian.com/cubegen/), as
ORCA, PySCF, Psi4, CP2K and others write it: two lines of text; the number of
atoms and the origin; number of points and step along each of three axes; a line
for each atom; the values, the third axis varying fastest. Files of orbitals
have a negative number of atoms, and after the atoms the number and names of the
orbitals; line 3 may end with the number of values of each point.
"""

import re
import warnings
from typing import NamedTuple

import numpy as np

from edjax.chem import elements
from edjax.runtime import reading

# Text of 512 MiB (`reading.MAX_BYTES`) cannot hold more values: each takes a
# digit and a blank.
_MAX_VALUES = reading.MAX_BYTES // 2
_MAX_ATOMS = 10**5
# Fortran leaves out the letter of an exponent of three digits: 0.31000-100.
_NO_LETTER = re.compile(rb'(?<=[0-9.])(?=[+-][0-9]{3}(?![0-9.]))')
_LETTERS = bytes.maketrans(b'Dd', b'EE')


class Cube(NamedTuple):
  """Contents of a file, in its units.

  Attributes:
    title: the two lines of text.
    numbers: [A] atomic numbers, int32; A may be 0.
    coords: [A, 3].
    origin: [3], of the first point.
    steps: [3, 3], of each axis.
    negative: whether the numbers of points are negative, by which some programs
      mean lengths in Å.
    values: [X, Y, Z, F] of F fields.
    of_orbitals: whether they are orbitals.
  """

  title: str
  numbers: np.ndarray
  coords: np.ndarray
  origin: np.ndarray
  steps: np.ndarray
  negative: bool
  values: np.ndarray
  of_orbitals: bool


class Head(NamedTuple):
  """What stands before the values; see `Cube`.

  Attributes:
    shape: points of the axes.
    n_fields: as line 3 has it; orbitals are counted after the atoms.
    rest: the text that follows.
    line: number of its first line.
  """

  title: str
  numbers: np.ndarray
  coords: np.ndarray
  origin: np.ndarray
  steps: np.ndarray
  negative: bool
  of_orbitals: bool
  shape: tuple[int, int, int]
  n_fields: int
  rest: bytes
  line: int


def parse_head(data: bytes) -> Head:
  """Reads what stands before the values: atoms and grid.

  Args:
    data: the text.

  Raises:
    ValueError: see `parse`.
  """
  head = data.split(b'\n', 6)
  if len(head) < 7:
    raise ValueError(f'{len(head)} lines are not even the head of a cube file')
  count, origin, n_fields = _row(head[2], 3, 'the number of atoms and origin')
  axes = [_row(head[i], i + 1, 'points and step of an axis') for i in (3, 4, 5)]
  of_orbitals, count = count < 0, abs(count)
  if count > _MAX_ATOMS:
    raise ValueError(f'line 3: {count} atoms')
  shape = tuple(abs(axis[0]) for axis in axes)
  negative = {axis[0] < 0 for axis in axes}
  if len(negative) > 1:
    raise ValueError('lines 4 to 6: numbers of points of both signs')
  _check_size(shape, n_fields)
  rest = head[6].split(b'\n', count)
  if len(rest) <= count:
    raise ValueError(f'line 3 announces {count} atoms, the file ends before')
  numbers, coords = _atoms(rest[:count])
  return Head(
    title=b'\n'.join(head[:2]).decode('utf-8', 'replace').strip(),
    numbers=numbers,
    coords=coords,
    origin=origin,
    steps=np.array([axis[1] for axis in axes]),
    negative=negative.pop(),
    of_orbitals=of_orbitals,
    shape=shape,
    n_fields=n_fields,
    rest=rest[count],
    line=7 + count,
  )


def parse(data: bytes) -> Cube:
  """Reads the text of a file.

  Atoms of number 0, ghosts that carry functions alone, are left out.

  Args:
    data: the text.

  Raises:
    ValueError: it is no cube file, or is damaged; the message names the line.
  """
  head = parse_head(data)
  n_fields, text, line = head.n_fields, head.rest, head.line
  if head.of_orbitals:
    n_fields, text, line = _orbitals(text, line)
    _check_size(head.shape, n_fields)
  values = _values(text, line, int(np.prod(head.shape)) * n_fields)
  return Cube(
    title=head.title,
    numbers=head.numbers,
    coords=head.coords,
    origin=head.origin,
    steps=head.steps,
    negative=head.negative,
    values=values.reshape(*head.shape, n_fields),
    of_orbitals=head.of_orbitals,
  )


def _check_size(shape, n_fields) -> None:
  if min(shape) < 2:
    raise ValueError(f'points of the axes are {shape}')
  if not 1 <= n_fields * np.prod(shape, dtype=float) <= _MAX_VALUES:
    raise ValueError(f'points of the axes are {shape}, of {n_fields} values')


def _row(line: bytes, number: int, what: str) -> tuple[int, np.ndarray, int]:
  """Parses a whole number, three others, and the number of fields if any."""
  words = line.split()
  if len(words) not in (4, 5):
    raise ValueError(f'line {number}: {what} expected')
  first, *others = (_number(word, number) for word in words)
  fields = others[3] if len(words) == 5 else 1
  if first != int(first) or fields != int(fields) or fields < 1:
    raise ValueError(f'line {number}: {what} expected')
  return int(first), np.array(others[:3]), int(fields)


def _finite(word: bytes) -> float | None:
  """Returns the number that a word is, None for others."""
  try:
    value = float(_plain(word.replace(b'_', b'?')))
  except ValueError:
    return None
  return value if np.isfinite(value) else None


def _plain(text: bytes) -> bytes:
  """Returns numbers of Fortran as others write them."""
  return _NO_LETTER.sub(b'E', text.translate(_LETTERS))


def _number(word: bytes, line: int) -> float:
  value = _finite(word)
  if value is None:
    raise ValueError(f'line {line}: {_quoted(word)} is no finite number')
  return value


def _quoted(word: bytes) -> str:
  return repr(word[:20].decode('ascii', 'replace'))


def _atoms(lines: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
  rows = []
  for number, line in enumerate(lines, start=7):
    words = line.split()
    if len(words) != 5:
      raise ValueError(
        f'line {number}: atomic number, charge and three coordinates expected'
      )
    # The second is a charge, whose meaning differs between programs.
    rows.append([_number(word, number) for word in words])
  table = np.array(rows).reshape(-1, 5)
  table = table[table[:, 0] != 0]
  whole = table[:, 0].astype(np.int64)
  if (whole != table[:, 0]).any():
    raise ValueError('atomic numbers must be whole')
  numbers = elements.check_numbers(whole) if len(whole) else whole
  return numbers.astype(np.int32), table[:, 2:]


def _orbitals(text: bytes, line: int) -> tuple[int, bytes, int]:
  """Returns number of orbitals, the text after their names, and its line."""
  names = []
  while not names or len(names) <= names[0]:
    own, _, text = text.partition(b'\n')
    words = own.split()
    names += [_number(word, line) for word in words]
    if not words or names[0] < 1 or names[0] != int(names[0]):
      raise ValueError(f'line {line}: number and names of orbitals expected')
    line += 1
  if len(names) != names[0] + 1:
    raise ValueError(
      f'line {line - 1}: {names[0]:g} names of orbitals expected'
    )
  return int(names[0]), text, line


def _values(text: bytes, line: int, count: int) -> np.ndarray:
  values = _floats(text.translate(_LETTERS))
  if values is None:
    values = _floats(_plain(text))
  if values is None or not np.isfinite(values).all():
    for number, own in enumerate(text.split(b'\n'), start=line):
      for word in own.split():
        _number(word, number)
    raise ValueError('there is something else among its values')
  if len(values) != count:
    raise ValueError(f'its axes announce {count} values, it has {len(values)}')
  return values


def _floats(text: bytes) -> np.ndarray | None:
  # Before 2.4, NumPy stops at text that is no number, and only warns.
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    try:
      return np.fromstring(text, np.float64, sep=' ')
    except (DeprecationWarning, ValueError):
      return None
