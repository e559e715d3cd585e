"""A table that goes on where a killed process left it."""

import pytest

from edjax.config import ConfigError
from edjax.predict.table import Table

HEADER = ['id', 'gap', 'error']
MADE_OF = {'runs': ['a'], 'input': 'b'}


def opened(path, header=HEADER, made_of=MADE_OF):
  return Table(path, header, made_of)


def test_goes_on_after_its_last_whole_row(tmp_path):
  path = tmp_path / 'out.csv'
  rows = [['m,1', 1.5, ''], ['m2', '', 'said\n"no"'], ['m3', 2, '']]
  with opened(path) as table:
    assert table.rows == 0
    table.append(rows[:2])
  whole = path.read_bytes()
  path.write_bytes(whole + b'm3,2.')  # killed here
  with opened(path) as table:
    assert table.rows == 2
    table.append(rows[2:])
    assert [row['id'] for row in table.read()] == ['m,1', 'm2', 'm3']
    assert table.read()[1]['error'] == 'said "no"'
  assert path.read_bytes() == whole + b'm3,2,\n'


def test_killed_in_the_header(tmp_path):
  path = tmp_path / 'out.csv'
  opened(path).__exit__()
  path.write_bytes(b'id,g')
  with opened(path) as table:
    assert table.rows == 0
  assert path.read_bytes() == b'id,gap,error\n'


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'made_of': MADE_OF | {'runs': ['c']}}, 'made with other runs'),
    ({'made_of': MADE_OF | {'input': 'c'}}, 'made with other input'),
    ({'header': ['id', 'mu', 'error']}, 'has other columns'),
  ],
)
def test_another_table_is_not_written_over(tmp_path, changes, message):
  path = tmp_path / 'out.csv'
  with opened(path) as table:
    table.append([['m1', 1, '']])
  before = path.read_bytes()
  with pytest.raises(ConfigError, match=message):
    opened(path, **changes)
  assert path.read_bytes() == before


@pytest.mark.parametrize('text', ['id,gap,error\nm1,1,\n', 'no table'])
def test_a_file_of_somebody_else_stays(tmp_path, text):
  path = tmp_path / 'out.csv'
  path.write_text(text)
  with pytest.raises(ConfigError, match='exists and'):
    opened(path)
  assert path.read_text() == text


def test_two_processes_do_not_write_one_table(tmp_path):
  with (
    opened(tmp_path / 'out.csv'),
    pytest.raises(ConfigError, match='another process is writing'),
  ):
    opened(tmp_path / 'out.csv')
  with opened(tmp_path / 'out.csv') as table:
    assert table.rows == 0
  with pytest.raises(ConfigError, match='of this machine'):
    opened('gs://bucket/out.csv')
