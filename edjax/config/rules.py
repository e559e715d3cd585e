"""Rules of the fields of a configuration: value -> complaint, or ''."""

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

Rule = Callable[[Any], str]


def complaints(
  fields: Mapping[str, Any], rules: Mapping[str, Rule], prefix: str
) -> list[str]:
  """Checks every field by its rule.

  Args:
    fields: name -> value.
    rules: name -> rule; every name has to be in `fields`.
    prefix: of names in the complaints, such as 'config.'.

  Returns:
    One sentence for each field that is unknown, missing or wrong.
  """
  result = []
  for name in sorted(set(fields) - set(rules)):
    near = difflib.get_close_matches(name, rules, 1)
    hint = f' (did you mean {prefix}{near[0]}?)' if near else ''
    result.append(f'{prefix}{name}: no such field{hint}')
  for name, rule in rules.items():
    complaint = rule(fields[name]) if name in fields else 'is missing'
    if complaint:
      result.append(f'{prefix}{name} {complaint}')
  return result


def is_a(kind: type, value) -> bool:
  """Returns isinstance, where a bool is no number and an int is a float."""
  kinds = (int, float) if kind is float else kind
  return isinstance(value, kinds) and not isinstance(value, bool)


def number(
  kind: type, low, high=math.inf, *, open_low=False, open_high=False
) -> Rule:
  """Allows a number of a type between two bounds."""
  above, below = '>' if open_low else '>=', '<' if open_high else '<='
  bounds = f'{above} {low}'
  bounds += ' and finite' if high == math.inf else f' and {below} {high}'

  def rule(value):
    if not is_a(kind, value):
      return f'must be a {kind.__name__}, not {value!r}'
    inside = low <= value <= high and math.isfinite(value)
    on_edge = (open_low and value == low) or (open_high and value == high)
    return '' if inside and not on_edge else f'must be {bounds}, not {value!r}'

  return rule


def numbers(low: float, *, open_low=False, distinct=True) -> Rule:
  """Allows a tuple of numbers; with `distinct` one or more, none twice."""
  one = number(float, low, open_low=open_low)
  bounds = f'{">" if open_low else ">="} {low:g}'
  allowed = f'numbers {bounds}'
  allowed = f'one or more {allowed}, none twice' if distinct else allowed

  def rule(value):
    ok = isinstance(value, tuple) and not any(one(v) for v in value)
    if ok and distinct:
      ok = value and len(set(value)) == len(value)
    return '' if ok else f'must be a tuple of {allowed}, not {value!r}'

  return rule


def counts(low: int) -> Rule:
  """Allows a tuple of one or more whole numbers."""

  def rule(value):
    ok = isinstance(value, tuple) and all(
      is_a(int, v) and v >= low for v in value
    )
    if ok and value:
      return ''
    return f'must be a tuple of whole numbers >= {low}, not {value!r}'

  return rule


def growing(low: int) -> Rule:
  """Allows a tuple of one or more growing whole numbers."""

  def rule(value):
    if not counts(low)(value) and sorted(set(value)) == list(value):
      return ''
    return f'must be a tuple of growing whole numbers >= {low}, not {value!r}'

  return rule


def one_of(*known: str) -> Rule:
  """Allows one of some names."""
  return lambda value: (
    '' if value in known else f'must be one of {list(known)}, not {value!r}'
  )


def some_of(known: Collection[str], *, empty=False) -> Rule:
  """Allows a tuple of known names, none twice."""

  def rule(value):
    if not isinstance(value, tuple) or not (value or empty):
      return f'must be a tuple of some of {list(known)}, not {value!r}'
    if len(set(value)) < len(value):
      return f'names something twice: {value!r}'
    unknown = [v for v in value if v not in known]
    return f'has {unknown}; known are {list(known)}' if unknown else ''

  return rule


def names(*, empty=False) -> Rule:
  """Allows a tuple of strings."""

  def rule(value):
    ok = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
    ok = ok and (value or empty)
    return '' if ok else f'must be a tuple of names, not {value!r}'

  return rule


def text(value) -> str:
  """Allows a string."""
  return '' if isinstance(value, str) else f'must be a string, not {value!r}'


def flag(value) -> str:
  """Allows True or False."""
  return (
    '' if isinstance(value, bool) else f'must be True or False, not {value!r}'
  )


POSITIVE = number(float, 0, open_low=True)
SHARE = number(float, 0, 1)
DECAY = number(float, 0, 1, open_high=True)
COUNT = number(int, 1)
SEED = number(int, 0, 2**31 - 1)
