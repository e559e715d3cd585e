"""How the record of a user's molecule is made: by GFN2-xTB, or from a file."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from data_builders.own import densities, records
from data_builders.pdbbind import maps

# The variant of the dataset whose densities are in files.
MAPS = 'maps'


class Way(NamedTuple):
  """How records are made.

  Attributes:
    densities: whether their densities are in files.
    function: 'module:name' that makes a record of `Raw` and `argument`.
    argument: its second argument.
    label: of the progress bar.
  """

  densities: bool
  function: str
  argument: Any
  label: str


def of(variant: str, settings: Mapping[str, Any]) -> Way:
  """Returns how the records of a variant of the dataset are made.

  Args:
    variant: MAPS, or of the geometry, see `molecules.geometries`.
    settings: values of `datasets.Dataset.settings`, by name.
  """
  if variant != MAPS:
    return Way(False, records.FUNCTION, variant, 'GFN2-xTB')
  return Way(True, densities.FUNCTION, maps.options(settings), 'densities')
