"""Files that appear whole."""

import json

import pytest

from edjax.runtime import atomic_files


def break_off(path):
  with atomic_files.replacing(path) as part:
    part.write_text('half')
    raise KeyboardInterrupt


def test_an_error_leaves_what_was_there(tmp_path):
  path = tmp_path / 'a'
  with pytest.raises(KeyboardInterrupt):
    break_off(path)
  assert list(tmp_path.iterdir()) == []
  atomic_files.write(path, 'before')
  with pytest.raises(KeyboardInterrupt):
    break_off(path)
  with pytest.raises(ValueError, match='not JSON compliant'):
    atomic_files.write_json(path, {'a': float('nan')})
  assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [
    ('a', 'before')
  ]


def test_what_is_there_is_the_old_file_until_the_end(tmp_path):
  path = tmp_path / 'a'
  atomic_files.write(path, 'before')
  with atomic_files.replacing(path) as first:
    with atomic_files.replacing(path) as second:  # another process
      first.write_text('first')
      second.write_text('second')
      assert path.read_text() == 'before'
    assert path.read_text() == 'second'
  assert path.read_text() == 'first'
  assert list(tmp_path.iterdir()) == [path]


def test_contents(tmp_path):
  path = tmp_path / 'a'
  atomic_files.write(path, b'\x00\n')
  assert path.read_bytes() == b'\x00\n'
  atomic_files.write(path, 'Å\r\n')
  assert path.read_bytes() == b'\xc3\x85\r\n'
  atomic_files.write_json(path, {'a': [1, 2.5]})
  assert json.loads(path.read_text()) == {'a': [1, 2.5]}
  with pytest.raises(FileNotFoundError):
    atomic_files.write(tmp_path / 'nowhere' / 'a', '')
