"""A molecule with its fields as one page of HTML, which needs nothing else."""

import base64
import gzip
import html
import importlib.resources
import json
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np

from edjax import arguments
from edjax.chem import elements
from edjax.export import ccp4
from edjax.export.volume import Volume
from edjax.molecule import POCKET

# The build of https://www.npmjs.com/package/3dmol/v/2.5.5, unchanged, and its
# licences, which each page has as well.
_VIEWER, _LICENCE = '3Dmol-min.js', '3Dmol-LICENSE.txt'
# The level that is shown first holds this share of the field's absolute sum.
_HELD = 0.75
# Bits of the 23 of float32's mantissa that pages keep: 2e-4 of a value, which
# nobody sees, in half of the bytes.
_MANTISSA = 12


def write(
  path,
  title: str,
  found: Sequence[Volume],
  atom_values: Mapping[str, Sequence[float]] | None = None,
) -> None:
  """Writes the page: atoms and isosurfaces of two fields side by side.

  Each side has a choice of the field and a slider for the level; both turn
  together. Values below 0 have a surface of another colour. Pockets are thin.

  Args:
    path: of the file.
    title: of the page.
    found: fields of one molecule, on one box or several.
    atom_values: title, with its unit -> a number for each atom, by which atoms
      are coloured and labelled, such as contributions to a prediction.

  Raises:
    ValueError: there is no field, or numbers are not those of the atoms.
    OSError: the file cannot be written.
  """
  if not found:
    raise ValueError('a page needs a field')
  first, atoms = found[0], []
  for name, values_A in (atom_values or {}).items():
    values_A = arguments.real(name, values_A)
    arguments.check_shape(name, values_A, (len(first.numbers_A),))
    atoms.append({'title': name, 'values': values_A.tolist()})
  data = {
    'xyz': _xyz(first),
    'is_pocket': (first.groups_A == POCKET).tolist(),
    'volumes': [_entry(volume) for volume in found],
    'atoms': atoms,
  }
  texts = {
    'TITLE': html.escape(title),
    'LICENCE': _asset(_LICENCE),
    # A text within JSON must not end the script.
    'DATA': json.dumps(data, allow_nan=False).replace('<', '\\u003c'),
    'VIEWER': _asset(_VIEWER),
  }
  # In one pass: what is filled in may look like a name.
  page = re.sub(r'%([A-Z]+)%', lambda m: texts[m[1]], _asset('page.html'))
  pathlib.Path(path).write_text(page, encoding='utf-8')


def _entry(volume: Volume) -> dict:
  """Returns a field as the page's script reads it."""
  values = volume.values_XYZ.astype(np.float64)
  largest = np.abs(values).max()
  unit = f', {volume.unit}' if volume.unit else ''
  return {
    'title': f'{volume.name}{unit}',
    'unit': volume.unit,
    'signed': bool(values.min() < -1e-6 * largest),
    # The script takes their ratio's logarithm.
    'largest': float(largest) or 1.0,
    'level': _level(values) or 1.0,
    'map': _packed(volume),
  }


def _level(values) -> float:
  """Returns the level above which a share of the absolute sum lies."""
  sorted_N = np.sort(np.abs(values), axis=None)[::-1]
  held_N = np.cumsum(sorted_N)
  return float(sorted_N[np.searchsorted(held_N, _HELD * held_N[-1])])


def _packed(volume: Volume) -> str:
  """Returns a field as a gzipped CCP4 map in base64, as 3Dmol.js reads it."""
  rounded = volume.values_XYZ.astype(np.float32).view(np.uint32)
  rounded = (rounded & np.uint32(-(1 << (23 - _MANTISSA)) % 2**32)).view(
    np.float32
  )
  with tempfile.TemporaryDirectory(prefix='edjax-') as folder:
    path = pathlib.Path(folder) / 'map.ccp4'
    ccp4.write_values(path, rounded, volume.box, ())
    packed = gzip.compress(path.read_bytes(), 6, mtime=0)
  return base64.b64encode(packed).decode()


def _xyz(volume: Volume) -> str:
  lines = [str(len(volume.numbers_A)), '']
  for number, place in zip(volume.numbers_A, volume.coords_A3, strict=True):
    x, y, z = place
    lines.append(f'{elements.SYMBOLS[number]} {x:.5f} {y:.5f} {z:.5f}')
  return '\n'.join(lines)


def _asset(name: str) -> str:
  files = importlib.resources.files('edjax.export')
  return (files / name).read_text(encoding='utf-8')
