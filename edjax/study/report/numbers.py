"""Writes numbers, intervals and means of a report as text."""

import math

from edjax.study.statistics import Mean

# Between thousands: narrow, and no place to break a line.
_SPACE = '\u202f'


def number(value: float | None) -> str:
  """Returns 3 significant digits, no exponent; '-' for None or NaN."""
  if value is None or math.isnan(value):
    return '-'
  if value == 0:
    return '0'
  # Rounded before digits are counted: 99.96 is 100, not 100.0.
  value = float(f'{value:.2e}')
  places = max(0, 2 - math.floor(math.log10(abs(value))))
  return f'{value:,.{places}f}'.replace(',', _SPACE)


def with_unit(text: str, unit: str) -> str:
  """Returns 'gap (meV)'; the text alone where there is no unit."""
  return f'{text} ({unit})' if unit else text


def spread(value: float, low: float, high: float, signed=False) -> str:
  """Returns '1.23 (1.10 to 1.36)', with decimals to about 1/20 of the width."""
  if math.isnan(value):
    return '-'
  if math.isnan(low):
    return f'{"+" if signed and value > 0 else ""}{number(value)}'
  width = max(high - low, abs(value) * 1e-4, 1e-12)
  places = min(6, max(0, 1 - math.floor(math.log10(width))))
  sign = '+' if signed else ''
  cells = [f'{v:{sign},.{places}f}' for v in (value, low, high)]
  first, *ends = (c.replace(',', _SPACE).replace('-', '−') for c in cells)
  return f'{first} ({ends[0]} to {ends[1]})'


def mean_word(mean: Mean) -> str:
  """Returns '1.23 (1.10 to 1.36; 5)': mean, interval, number of seeds."""
  if not mean.seeds:
    return '-'
  text = spread(mean.value, mean.low, mean.high)
  return f'{text[:-1]}; {mean.seeds})' if '(' in text else f'{text} (1)'


def size_word(value: float) -> str:
  """Returns a number of labels with a narrow space between thousands."""
  text = f'{value:,.6g}' if value < 1e4 else f'{value:,.0f}'
  return text.replace(',', _SPACE)
