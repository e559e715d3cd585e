"""What the builders of users' files share: names of datasets, summaries."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from data_builders.own import selection

# Reasons that a summary lists; the manifest has all.
_LISTED = 3


def check_source(settings: Mapping[str, Any], what: str) -> None:
  """Checks that a source is named.

  Args:
    settings: of the dataset.
    what: 'file or folder of your molecules'.

  Raises:
    ValueError: it is not.
  """
  if not settings['source']:
    raise ValueError(f'config.data.source is missing: name the {what} with it')


def config_name(
  file: str, facts: Sequence, settings: Mapping[str, Any], variant: str
) -> str:
  """Returns the name of the TFDS configuration of a source.

  It has a hash of the source and the settings, so that another source, or a
  changed one, is another dataset.

  Args:
    file: name of the source, whose stem begins the name.
    facts: what the contents follow from, such as hashes.
    settings: of the dataset; 'source' is left out, since a source may move.
    variant: of the dataset; '' for none.
  """
  others = {k: v for k, v in settings.items() if k != 'source'}
  text = json.dumps([*facts, others])
  digest = hashlib.sha256(text.encode()).hexdigest()[:12]
  stem = re.sub(r'[^A-Za-z0-9]+', '_', file.partition('.')[0]).strip('_')
  return '-'.join(filter(None, [stem, digest, variant]))


def of_columns(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
  """Returns lines on columns that are mostly numbers, and have other cells."""
  return [
    f'column {name}: {cells["no_number"]} cells are no numbers, and count as '
    'missing'
    for name, cells in counts.items()
    if selection.mostly_numbers(cells)
  ]


def first(reasons: Sequence[str]) -> list[str]:
  """Returns the first reasons as lines, and the number of the others."""
  more = len(reasons) - _LISTED
  lines = [f'  {reason}' for reason in reasons[:_LISTED]]
  return [*lines, f'  ... and {more} more'] if more > 0 else lines
