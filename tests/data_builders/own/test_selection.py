"""Columns of users that have names of edjax's own."""

from data_builders.molecules import records
from data_builders.own import selection
from data_builders.own.types import Raw


def test_no_column_of_a_user_replaces_an_array_of_the_record():
  """Pandas writes a column 'index', which keys what is random here."""
  own = set(records.features(('xtb_energy', 'xtb_gap')))
  assert {'index', 'numbers'} <= own
  values = dict.fromkeys([*own, 'n_homo', 'values', 'y'], '1')
  assert selection.numeric([Raw('a', 1, 'a.csv, line 2', values=values)]) == (
    'y',
  )
