"""Affinities as tables write them: -log10 of mol/l, or a value and its unit."""

import math
import re
from typing import NamedTuple

UNITS = {'fM': 1e-15, 'pM': 1e-12, 'nM': 1e-9, 'uM': 1e-6, 'mM': 1e-3, 'M': 1.0}
# Values outside are no pK but nM or kcal/mol: the indices have 0.40 to 15.22.
RANGE = (-2.0, 18.0)
# The indices round pK to two decimals.
DECIMALS = 2
RELATIONS = ('=', '~', '<', '>', '<=', '>=')
_MEASURES = {'kd': 'Kd', 'ki': 'Ki', 'ic50': 'IC50'}
_VALUE = r'(<=|>=|[=~<>])?\s*(\d*\.?\d+|\d+\.)((?:[eE][-+]?\d+)?)'
_MEASURED = re.compile(
  rf'((?i:Kd|Ki|IC50))\s*(?=[=~<>]){_VALUE}\s*(fM|pM|nM|[uµμ]M|mM|M)'
)


class Affinity(NamedTuple):
  """A measured affinity.

  Attributes:
    measure: 'Kd', 'Ki', 'IC50', or '' where unknown.
    relation: '=', '~', '<', '>', '<=' or '>=', as written before the value.
    pk: -log10 of the value in mol/l; NaN where there is no value.
  """

  measure: str
  relation: str
  pk: float


def checked_pk(text: str) -> float:
  """Parses a pK.

  Raises:
    ValueError: it is no number, or outside RANGE.
  """
  try:
    value = float(text)
  except ValueError:
    raise ValueError(f'pK {text!r} is not a number') from None
  # NaN is not inside either.
  if not RANGE[0] <= value <= RANGE[1]:
    raise ValueError(
      f'pK {text} is outside {RANGE[0]:g} to {RANGE[1]:g}; it must be -log10 '
      'of mol/l'
    )
  return value


def unit_of(text: str) -> str:
  """Returns the key of UNITS that a text means, '' for none.

  Case does not matter, since no two units differ by it alone.
  """
  plain = text.strip().lower().replace('µ', 'u').replace('μ', 'u')
  return {unit.lower(): unit for unit in UNITS}.get(plain, '')


def measured(written: str) -> Affinity:
  """Parses a measure with or without a value: 'Ki=0.4uM', 'IC50', ''.

  Raises:
    ValueError: it is something else.
  """
  if written.lower() in ('', *_MEASURES):
    return Affinity(_MEASURES.get(written.lower(), ''), '=', math.nan)
  match = _MEASURED.fullmatch(written)
  if not match or float(match[3]) == 0:
    raise ValueError(
      f'cannot read {written!r} (Kd, Ki or IC50; = ~ < > <= or >=; a '
      f'number above 0; {", ".join(UNITS)})'
    )
  measure, relation, digits, exponent, unit = match.groups()
  pk = _pk(digits + exponent, unit_of(unit))
  return Affinity(_MEASURES[measure.lower()], relation, pk)


def value(text: str, unit: str, measure: str = '') -> Affinity:
  """Converts a value such as '316.23' or '>10'.

  Args:
    text: the value, which a relation may precede.
    unit: key of UNITS.
    measure: of the result.

  Raises:
    ValueError: it is no number above 0.
  """
  match = re.fullmatch(_VALUE, text)
  if not match or float(match[2]) == 0:
    raise ValueError(f'cannot read {text!r} (a number above 0 in {unit})')
  return Affinity(measure, match[1] or '=', _pk(match[2] + match[3], unit))


def _pk(number: str, unit: str) -> float:
  molar = float(number) * UNITS[unit]
  if not 0 < molar < math.inf:
    raise ValueError(f'{number} {unit} is no concentration')
  return -math.log10(molar)
