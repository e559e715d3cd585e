"""Molecules of XYZ and extended XYZ files, read by ASE."""

import io
import pathlib
from collections.abc import Iterator

import numpy as np

from data_builders.own import columns
from data_builders.own.types import Options, Raw, RecordError
from edjax.chem import toolkits
from edjax.runtime import reading

# Å up to which a carbon is bonded: 1.2 times the sum of the covalent radii of
# two carbons, as in geometries.bonds_from_distances.
_BOND_A = 1.2 * 1.52
# Two bonds of a carbon without hydrogen are on one line, as in CO2 and C3O2
# (which bends by 24 degrees); 120 and 109 degrees lack hydrogens.
_LINEAR = np.cos(np.deg2rad(145))


def read(path, options: Options) -> Iterator[Raw]:
  """Reads every frame of a file; see `sources.read`."""
  path = pathlib.Path(path)
  stem = path.name.partition('.')[0]
  frames = [_frame(text) for text in split(path)]
  names = list(dict.fromkeys(name for values, _ in frames for name in values))
  of = columns.found(names, options, str(path))
  ids = columns.ids([values for values, _ in frames], of.id, stem)
  for i, (values, atoms) in enumerate(frames):
    raw = Raw(ids[i], i + 1, f'{path.name}, frame {i + 1}', values=values)
    yield with_molecule(raw, atoms, of)


def read_one(path):
  """Returns (values, atoms) of a file with one frame; see `with_molecule`.

  Raises:
    RecordError: it has several.
  """
  frames = split(path)
  if len(frames) != 1:
    raise RecordError(f'holds {len(frames)} frames where one is expected')
  return _frame(frames[0])


def split(path) -> list[str]:
  """Returns the texts of a file's frames.

  Raises:
    ValueError: it is empty, or a line that should begin a frame is no number.
  """
  path = pathlib.Path(path)
  text = reading.decoded(reading.unpacked(path), path, 'replace')
  lines = text.splitlines()
  frames, at = [], 0
  while at < len(lines):
    if not lines[at].strip():
      at += 1
      continue
    count = lines[at].strip()
    if not count.isdecimal() or not int(count):
      raise ValueError(
        f'{path}, line {at + 1}: {lines[at][:40]!r} is no number of atoms'
      )
    end = at + 2 + int(count)
    if end > len(lines):
      raise ValueError(
        f'{path}, line {at + 1}: {count} atoms are announced, and the file '
        f'ends after {len(lines) - at - 2}'
      )
    frames.append('\n'.join(lines[at:end]) + '\n')
    at = end
  if not frames:
    raise ValueError(f'{path} is empty')
  return frames


def _frame(text: str) -> tuple[dict[str, str | float], object]:
  """Returns the values of a frame, and ASE's atoms or the problem with them."""
  import ase.io

  try:
    atoms = ase.io.read(io.StringIO(text), index=0, format='extxyz')
  except Exception as error:  # whatever ASE's parser meets
    line = text.splitlines()[1]
    return {}, f'ASE cannot read it ({error}); second line: {line[:60]!r}'
  values = dict(atoms.info)
  if atoms.calc is not None:
    values |= {k: v for k, v in atoms.calc.results.items() if v is not None}
  return {
    name: _cell(value) for name, value in values.items() if np.ndim(value) == 0
  }, atoms


def _cell(value) -> str | float:
  if isinstance(value, (bool, int, float, np.number, np.bool_)):
    return float(value)
  return str(value)


def with_molecule(raw: Raw, atoms, of: Options) -> Raw:
  """Adds the molecule of a frame, or the problem with it.

  Args:
    raw: with its values.
    atoms: ASE's, or a text that says why there are none.
    of: names of columns as `raw.values` has them.
  """
  try:
    if isinstance(atoms, str):
      raise RecordError(atoms)
    numbers, coords = toolkits.of_ase(atoms)
    if not np.isfinite(coords).all():
      raise RecordError('coordinates that are not finite')
    if not raw.density and _lacks_hydrogens(numbers, coords):
      raise RecordError('its hydrogens are missing, without which xTB is wrong')
    return raw._replace(
      numbers=numbers.astype(np.int32),
      coords=coords,
      charge=columns.whole(raw.values, of.charge) or 0,
      unpaired=columns.whole(raw.values, of.unpaired) or 0,
    )
  except ValueError as error:
    return raw._replace(problem=str(error))


def _lacks_hydrogens(numbers_A, coords_A3) -> bool:
  """Returns whether no atom is a hydrogen and a carbon has too few bonds."""
  if (numbers_A == 1).any() or len(numbers_A) < 3:
    return False
  for i in np.flatnonzero(numbers_A == 6):
    from_i_A3 = coords_A3 - coords_A3[i]
    distance_A = np.linalg.norm(from_i_A3, axis=1)
    near_A = (distance_A < _BOND_A) & (distance_A > 0)
    if near_A.sum() == 1 and numbers_A[near_A][0] not in (7, 8):
      return True
    if near_A.sum() == 2:
      first, second = from_i_A3[near_A] / distance_A[near_A][:, None]
      if first @ second > _LINEAR:
        return True
  return False
