"""From a file of molecules to a folder, by the command."""

import csv
import json
import types

import numpy as np
import pytest
from support import small_run

from configs import complexes_density, molecules_density, study_molecules
from data_builders import cube_files
from edjax import commands
from edjax.chem import elements
from edjax.config import ConfigError
from edjax.export import files, molecules
from edjax.predict import inputs
from edjax.runtime import preemption

PLACE = np.array([-13.3, 4.7, -101.2])


def write_xyz(path, records, ids):
  lines = []
  for record, name in zip(records, ids, strict=True):
    lines += [str(len(record.numbers)), f'id="{name}"']
    for number, at in zip(record.numbers, record.coords + PLACE, strict=True):
      place = ' '.join(f'{x:.10f}' for x in at)
      lines.append(f'{elements.SYMBOLS[number]} {place}')
  path.write_text('\n'.join(lines) + '\n')
  return str(path)


@pytest.fixture(scope='module')
def records():
  """Four molecules; xTB refuses the second: two atoms at a place."""
  chosen = small_run.raw_records()[3:7]
  twice = chosen[1].coords.copy()
  twice[1] = twice[0]
  chosen[1] = chosen[1]._replace(coords=twice)
  return chosen


@pytest.fixture(scope='module')
def source(records, tmp_path_factory):
  """Ids that are no names of files, and equal ones where case is no matter."""
  path = tmp_path_factory.mktemp('input') / 'four.xyz'
  return write_xyz(path, records, ['a/1', 'b', 'A_1', 'last'])


SETTINGS = files.Settings(
  fields=('density', 'shape'), formats=('cube',), spacing=0.3, margin=2.0
)


def export(source, output, settings=SETTINGS, config=None, workdirs=()):
  config = config or (None if workdirs else molecules_density.get_config())
  paths = str(source), str(output), settings
  return commands.run(config, [*workdirs], 'export', files=paths)


def read(folder):
  with (folder / files.REPORT).open(newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def folder(source, tmp_path_factory):
  path = tmp_path_factory.mktemp('output') / 'new' / 'folder'
  assert export(source, path) == 0
  return path


def test_each_molecule_is_a_row(folder):
  rows = read(folder)
  assert [row['id'] for row in rows] == ['a/1', 'b', 'A_1', 'last']
  assert [bool(row['error']) for row in rows] == [False, True, False, False]
  assert rows[0]['files'] == 'a_1_1.density.cube a_1_1.shape.cube'
  assert rows[2]['files'] == 'A_1_3.density.cube A_1_3.shape.cube'
  assert rows[3]['files'] == 'last.density.cube last.shape.cube'
  named = {name for row in rows for name in row['files'].split()}
  written = {path.name for path in folder.iterdir()}
  assert written == named | {files.REPORT, f'{files.REPORT}.json'}


def test_densities_are_those_of_the_atoms_of_the_source(folder, records):
  """As the reader of densities checks them: unit, axes, place, electrons."""
  for row, record in zip(read(folder), records, strict=True):
    if row['error']:
      continue
    cube = cube_files.read_cube(folder / row['files'].split()[0])
    np.testing.assert_array_equal(cube.numbers, record.numbers)
    np.testing.assert_allclose(cube.coords, record.coords + PLACE, atol=2e-5)
    valence = sum({1: 1, 6: 4, 7: 5, 8: 6, 9: 7}[z] for z in record.numbers)
    assert cube.electrons == pytest.approx(valence, rel=0.03)


def test_the_same_command_goes_on(folder, source, tmp_path, monkeypatch):
  """After a kill behind the second row; what is there is not done again."""
  lines = (folder / files.REPORT).read_bytes().splitlines(keepends=True)
  (tmp_path / files.REPORT).write_bytes(b''.join(lines[:3]))
  beside = f'{files.REPORT}.json'
  (tmp_path / beside).write_bytes((folder / beside).read_bytes())
  done = []
  monkeypatch.setattr(
    files.formats, 'write', lambda to, stem, *_: done.append(stem) or [stem]
  )
  assert export(source, tmp_path) == 0
  assert done == ['A_1_3', 'last']
  assert [bool(row['error']) for row in read(tmp_path)] == [
    False, True, False, False,
  ]  # fmt: skip


def test_a_signal_ends_between_molecules(source, tmp_path, monkeypatch):
  monkeypatch.setattr(files.formats, 'write', lambda *_: ['x'])
  monkeypatch.setattr(preemption._ASKED, 'is_set', lambda: True)
  status = export(source, tmp_path)
  assert status == preemption.EXIT_STATUS
  assert len(read(tmp_path)) == 1


def test_other_settings_do_not_go_on_in_a_folder(folder, source, capsys):
  assert export(source, folder, SETTINGS._replace(spacing=0.2)) == 2
  assert 'was made with other spacing' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'fields': ('densty',)}, "--fields: unknown field 'densty'; there are"),
    ({'formats': ('mrc',)}, "--formats: unknown format 'mrc'; there are ccp4"),
    ({'spacing': 0.0}, '--spacing=0.0 is not 0.01 to 10 Å'),
    ({'margin': -1.0}, '--margin=-1.0 is not 0 to 100 Å'),
  ],
)
def test_wrong_settings_are_named(source, tmp_path, capsys, changes, message):
  path = tmp_path / 'new'
  assert export(source, path, SETTINGS._replace(**changes)) == 2
  assert message in capsys.readouterr().err
  assert not path.exists()


def test_mistakes_end_in_a_message(source, tmp_path, capsys):
  def message(source=source, output=tmp_path, status=2, **others):
    assert export(source, output, **others) == status
    return capsys.readouterr().err

  assert 'there is no' in message(source=tmp_path / 'none.sdf')
  assert 'is a file; give a folder' in message(output=source)
  below = f'{source}/below'
  assert below in message(output=below)
  text = message(config=study_molecules.get_config())
  assert 'a study has several representations' in text
  text = message(config=complexes_density.get_config())
  assert 'is neither a table' in text
  assert 'predictor.npz' in message(workdirs=[str(tmp_path)])


def test_what_does_not_fit_is_a_row_and_no_molecule_a_status(
  source, tmp_path, capsys
):
  """A grid that is too large, after the molecules have been calculated."""
  fine = SETTINGS._replace(fields=('shape',), spacing=0.01, margin=9)
  assert export(source, tmp_path, fine) == 1
  assert '0 of 4 molecules exported, 4 not' in capsys.readouterr().out
  errors = [row['error'] for row in read(tmp_path)]
  assert sum('MB: take a larger spacing' in text for text in errors) == 3


def test_a_run_has_its_fields(source, tmp_path, monkeypatch):
  """Those of its configuration, with the elements there."""
  config = small_run.config_of('nowhere', channels=('atoms',))
  read_run = {'runs/1': types.SimpleNamespace(config=config)}
  monkeypatch.setattr(files.kept, 'read', read_run.get)
  settings = files.Settings(formats=('npz',), spacing=0.5, margin=1.0)
  output = tmp_path / 'out'
  assert export(source, output, settings, workdirs=['runs/1']) == 0
  of_last = read(output)[-1]['files'].split()
  names = [f'atoms_{x}' for x in (*config.representation.elements, 'other')]
  assert of_last == [f'last.{name}.npz' for name in names]
  about = json.loads((output / f'{files.REPORT}.json').read_text())
  assert about['representation']['channels'] == "('atoms',)"


def test_molecules_have_their_origins(records):
  """Shifted about the frame of the file, each in its own way."""
  from data_builders.molecules import records as records_lib

  config = molecules_density.get_config()
  whole = [r for i, r in enumerate(records) if i != 1]
  examples = [records_lib.calculate(r).example for r in whole]
  made = molecules.molecules(examples, {'orbitals'}, config)
  for mol, record in zip(made, whole, strict=True):
    n = len(record.numbers)
    there = np.asarray(mol.coords_A3)[:n] + np.asarray(mol.origin_3)
    np.testing.assert_allclose(there, record.coords, atol=1e-5)
    assert mol.orbitals_OL9.shape == made[0].orbitals_OL9.shape
    assert mol.homo_OL9 is None
  assert np.ptp([mol.origin_3 for mol in made], axis=0).max() > 0.05


def test_errors_of_a_source_name_it(tmp_path):
  path = tmp_path / 'empty.sdf'
  path.write_text('')
  with pytest.raises(ConfigError, match=r'--input=.*empty\.sdf'):
    inputs.read([molecules_density.get_config()], str(path))
