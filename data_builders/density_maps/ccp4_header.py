"""Headers of CCP4 and MRC files, and what gemmi would read wrong of them.

Words are those of https://www.ccpem.ac.uk/mrc-format/mrc2014/, from 1.
"""

import contextlib
import gzip
import pathlib
import tempfile

import numpy as np

# NumPy's types of the modes.
_MODES = {0: 'i1', 1: 'i2', 2: 'f4', 6: 'u2', 12: 'f2'}
_BYTES = 1024
# gemmi counts points in 32 bits; 2 GiB of float32 are 800^3.
MAX_POINTS = 2**29
_MAX_EXTENDED = 2**26
# IMOD's stamp in word 39; bit 1 of word 40: bytes have a sign.
_IMOD = 1146047817
# Cells of one crystal in two files, edges and angles: of digits and refinement.
_SAME_EDGE, _SAME_ANGLE = 0.01, 0.5


class Header:
  """Fields of a header, by axis of the cell (not of the file).

  Attributes:
    n: points of the file.
    start: of the first point.
    m: points of the cell.
    cell: edges in Å and angles.
    space_group: number; 0 for images.
    origin: words 50 to 52, Å.
    operators: set of those that the file lists, None without a list.
  """

  def __init__(self, words, floats, extended: bytes):
    order = [int(np.flatnonzero(words[16:19] == i + 1)[0]) for i in range(3)]
    self.n = [int(words[i]) for i in order]
    self.start = [int(words[4 + i]) for i in order]
    self.m = words[7:10].tolist()
    self.cell = floats[10:16].astype(float).tolist()
    self.space_group = int(words[22])
    self.origin = floats[49:52].astype(float).tolist()
    self.operators = _operators(extended)

  def _is_right_angled(self) -> bool:
    return all(abs(angle - 90) < 1e-3 for angle in self.cell[3:])

  def is_periodic(self, cell) -> bool | None:
    """Returns whether a map is of a crystal; None where nothing says it.

    Args:
      cell: gemmi.UnitCell of the model's crystal, or None.

    Raises:
      ValueError: it is a part of a cell, of which the readings differ.
    """
    if self.space_group > 1 or not self._is_right_angled():
      return True
    # Crystals have no origin in words 50 to 52, and a space group.
    if self.space_group == 0 or any(self.origin):
      return False
    if is_same(self.cell, cell) or any(np.greater(self.n, self.m)):
      return True
    if self.n == self.m:
      return None
    raise ValueError(
      f'{self.n} of {self.m} points of a cell in P1: a box cut from a '
      'microscope\'s map (periodic=False, config.data.map_periodic="no") or a '
      'part of a crystal\'s cell (periodic=True, "yes")?'
    )

  def check_cell(self, cell) -> None:
    """Raises ValueError where a map with symmetry has another cell.

    Maps in P1 may be of a box about the model, as those of PanDDA are.
    """
    if self.space_group > 1:
      check_cell(self.cell, cell)

  def check_box(self) -> None:
    """Raises ValueError where a map cannot be one of no crystal."""
    if self.space_group > 1:
      raise ValueError(f'space group {self.space_group}, but periodic is False')
    if not self._is_right_angled():
      raise ValueError('a box that is no crystal needs right angles')

  def box_origin(self) -> np.ndarray:
    """Returns where the first value lies, from one of two header fields."""
    start_3 = np.array(self.start) * np.array(self.cell[:3]) / self.m
    origin_3 = np.array(self.origin)
    if not origin_3.any():
      return start_3
    if start_3.any() and not np.allclose(start_3, origin_3, atol=1e-2):
      raise ValueError(
        f'the header has two origins, {start_3.tolist()} Å in words 5 to 7 '
        f'and {origin_3.tolist()} Å in words 50 to 52'
      )
    return origin_3


@contextlib.contextmanager
def readable(path):
  """Checks header and length of a file, which may be gzipped.

  gemmi would allocate whatever memory a damaged header asks for. It knows gzip
  by the suffix, takes bytes as signed, and has no extended headers of odd
  lengths and no big-endian files but of floats: of such files a copy is made.

  Args:
    path: of the file.

  Yields:
    The path of the file or the copy, and its `Header`.

  Raises:
    ValueError: damaged, or unknown.
  """
  path = pathlib.Path(path)
  with path.open('rb') as file:
    packed = file.read(2) == b'\x1f\x8b'
  with gzip.open(path) if packed else path.open('rb') as file:
    raw = file.read(_BYTES)
    words, floats, endian = _words(raw)
    n, mode, extended = words[:3], int(words[3]), int(words[23])
    text = file.read(extended)
    kind = _MODES[mode]
    count = int(np.prod(n, dtype=np.int64))
    expected = extended + count * int(kind[1])
    unsigned = False
    if mode == 0:
      data = file.read(count)
      unsigned = len(data) == count and _is_unsigned(data, words, floats)
    file.seek(_BYTES + expected - 1)
    last = file.read(2)
    if len(last) != 1:
      more = 'more' if last else 'fewer'
      raise ValueError(
        f'the header is followed by {more} than the {expected} bytes that it '
        'announces: the file is damaged or truncated'
      )
    header = Header(words, floats, text)
    suffixed = path.name.lower().endswith('.gz')
    if packed == suffixed and not (
      unsigned or extended % 4 or (endian == '>' and mode != 2)
    ):
      yield path, header
      return
    file.seek(_BYTES + extended)
    values = np.frombuffer(
      file.read(count * int(kind[1])), 'u1' if unsigned else endian + kind
    )
  changed = words.astype('<i4')
  changed[3], changed[23] = 2, 0
  first = bytearray(changed.tobytes())
  first[208:216] = b'MAP \x44\x44\0\0'
  with tempfile.NamedTemporaryFile(suffix='.ccp4') as copy:
    copy.write(first)
    copy.write(values.astype('<f4').tobytes())
    copy.flush()
    yield pathlib.Path(copy.name), header


def _words(raw: bytes):
  """Returns the header's words as whole numbers and as floats, and '<' or '>'.

  Raises:
    ValueError: impossible ones.
  """
  import gemmi

  if len(raw) < _BYTES:
    raise ValueError(f'{len(raw)} bytes are not even a CCP4 header')
  if raw[208:212] != b'MAP ':
    raise ValueError('this is not a CCP4 or MRC map (no MAP in word 53)')
  stamp = raw[212]
  if stamp not in (0x44, 0x11):
    raise ValueError(f'unknown machine stamp {raw[212:216].hex()}')
  endian = '<' if stamp == 0x44 else '>'
  words = np.frombuffer(raw, f'{endian}i4')
  floats = np.frombuffer(raw, f'{endian}f4')
  n, m, axes = words[:3], words[7:10], words[16:19]
  if words[3] not in _MODES:
    raise ValueError(f'mode {words[3]} is none of {list(_MODES)}')
  for name, size in (('size', n), ('sampling', m)):
    points = np.prod(size, dtype=float)
    if (size < 1).any() or points > MAX_POINTS:
      raise ValueError(f'an impossible {name}, {size.tolist()}')
  if sorted(axes.tolist()) != [1, 2, 3]:
    raise ValueError(f'axes {axes.tolist()} are not 1, 2, 3 in some order')
  cell = floats[10:16].astype(float)
  if not (
    np.isfinite(cell).all()
    and (cell > 0).all()
    and (cell[3:] < 180).all()
    # Angles that cannot meet in a corner have no volume.
    and gemmi.UnitCell(*cell).volume > 1e-3 * np.prod(cell[:3])
  ):
    raise ValueError(f'an impossible cell, {cell.tolist()}')
  if not np.isfinite(floats[49:52]).all():
    raise ValueError('an origin that is not finite in words 50 to 52')
  if words[24] == 1:
    raise ValueError('a skew transformation (word 25) is not understood')
  if not 0 <= words[23] <= _MAX_EXTENDED:
    raise ValueError(f'an impossible extended header of {words[23]} bytes')
  return words, floats, endian


def _is_unsigned(data: bytes, words, floats) -> bool:
  """Tells whether bytes have no sign, as older programs write them in mode 0.

  Raises:
    ValueError: neither IMOD's flags nor the header's minimum and maximum say.
  """
  unsigned = np.frombuffer(data, 'u1')
  if unsigned.max() < 128:
    return False
  if words[38] == _IMOD:
    return not words[39] & 1
  limits = floats[19:21].astype(float)
  fits = [
    np.allclose([values.min(), values.max()], limits, atol=1)
    for values in (unsigned, unsigned.view('i1'))
  ]
  if fits[0] == fits[1]:
    raise ValueError(
      'bytes with or without a sign (mode 0)? The minimum and maximum in the '
      'header fit neither reading; write the map in mode 2'
    )
  return fits[0]


def _operators(extended: bytes):
  import gemmi

  lines = [extended[i : i + 80] for i in range(0, len(extended), 80)]
  if not lines or len(extended) % 80:
    return None
  try:
    return {
      gemmi.Op(line.decode('ascii').strip()).wrap().triplet() for line in lines
    }
  except (RuntimeError, ValueError):  # other programs keep other things there
    return None


def is_same(parameters, cell) -> bool:
  """Returns whether two cells are those of one crystal.

  Args:
    parameters: edges and angles.
    cell: gemmi.UnitCell, or None, which is no crystal's.
  """
  if cell is None:
    return False
  own, other = np.array(parameters), np.array(cell.parameters)
  return bool(
    np.allclose(own[:3], other[:3], rtol=_SAME_EDGE)
    and np.allclose(own[3:], other[3:], atol=_SAME_ANGLE)
  )


def check_cell(parameters, cell) -> None:
  """Raises ValueError where a model, if it has a cell, has another one."""
  if cell is not None and not is_same(parameters, cell):
    raise ValueError(
      f'it is of another crystal: its cell is {said(parameters)}, that of the '
      f'model {said(cell.parameters)}'
    )


def said(parameters) -> str:
  """Returns a cell for messages."""
  return ' '.join(f'{value:g}' for value in parameters)
