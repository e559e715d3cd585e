"""What --mode explain writes."""

import csv

import gemmi
import numpy as np
import pytest
from support import small_run

from edjax import commands
from edjax.config import ConfigError
from edjax.explain import files
from edjax.predict import kept

# Water, a molecule far from the origin of its file, and one that xTB refuses.
XYZ = """3
water
O 20.0 -5.0 3.1
H 20.0 -4.24 2.5
H 20.0 -5.76 2.5
4
name=broken
C 0 0 0
H 0 0 1.1
H 0 1.0 -0.4
H 0.9 -0.5 -0.4
2
cyanide
C 0 0 0
N 0 0 1.16
"""


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run on the density with random weights, and two targets."""
  pack = small_run.pack_in(tmp_path_factory.mktemp('packs') / 'mini')
  directory = tmp_path_factory.mktemp('run')
  made = small_run.untrained(pack, channels=('density',))
  kept.write(directory / kept.NAME, made)
  return directory


@pytest.fixture(scope='module')
def explained(run, tmp_path_factory):
  """The folder, and the status, of the command on three molecules."""
  folder = tmp_path_factory.mktemp('out') / 'explained'
  source = folder.parent / 'three.xyz'
  source.write_text(XYZ)
  status = commands.run(
    None, [run], 'explain', files=(source, folder, files.Settings())
  )
  return folder, source, status


def rows_of(path):
  with path.open() as file:
    return list(csv.DictReader(file))


def test_a_row_for_each_molecule(explained):
  folder, _, status = explained
  assert status == 0
  first, second, third = rows_of(folder / files.REPORT)
  assert not first['error']
  assert 'odd number of electrons' in second['error']
  assert 'odd number of electrons' in third['error']
  difference = float(first['mu']) - float(first['mu_reference'])
  parts, missed = float(first['mu_contributions']), float(first['mu_missed'])
  assert difference == pytest.approx(parts + missed, abs=1e-5)
  assert abs(missed) < 0.02 * abs(difference)
  assert first['mu_unit'] == 'D'


def test_atoms_lie_where_the_file_has_them(explained):
  folder, _, _ = explained
  (name,) = [p.name for p in folder.glob('*.atoms.csv')]
  stem = name.removesuffix('.atoms.csv')
  atoms = rows_of(folder / name)
  assert [row['element'] for row in atoms] == ['O', 'H', 'H']
  places_A3 = np.array([[float(row[x]) for x in 'xyz'] for row in atoms])
  np.testing.assert_allclose(places_A3[0], [20, -5, 3.1], atol=1e-4)
  parts = [float(row['mu']) for row in atoms]
  (report,) = [r for r in rows_of(folder / files.REPORT) if not r['error']]
  assert sum(parts) == pytest.approx(
    float(report['mu_contributions']), rel=1e-3
  )
  # PDB: the largest contribution is 100, with its sign.
  structure = gemmi.read_structure(str(folder / f'{stem}.mu.pdb'))
  b_factors = [atom.b_iso for atom in structure[0]['A'][0]]
  largest = max(parts, key=abs)
  np.testing.assert_allclose(
    b_factors, 100 * np.array(parts) / abs(largest), atol=0.01
  )


def test_the_map_lies_on_the_atoms_and_has_the_sum(explained):
  folder, _, _ = explained
  (path,) = folder.glob('*.mu.ccp4')
  raw = gemmi.read_ccp4_map(str(path))
  values = np.array(raw.grid.array)
  step = raw.grid.unit_cell.a / raw.grid.nu
  first_3 = np.array([raw.header_i32(5 + i) for i in range(3)])
  grid_3 = np.moveaxis(np.indices(values.shape), 0, -1) + first_3
  centre_3 = np.average(
    grid_3.reshape(-1, 3), axis=0, weights=np.abs(values).ravel()
  )
  assert np.linalg.norm(centre_3 * step - [20, -5, 2.9]) < 1
  (report,) = [r for r in rows_of(folder / files.REPORT) if not r['error']]
  total = values.sum() * step**3
  parts = [float(r['mu']) for r in rows_of(next(folder.glob('*.atoms.csv')))]
  size = np.abs(parts).sum()
  assert abs(total - float(report['mu_contributions'])) < 0.15 * size
  assert 'mu' in next(folder.glob('*.html')).read_text()


def test_the_command_goes_on(run, explained, capsys):
  folder, source, _ = explained
  arguments = (source, folder, files.Settings())
  assert commands.run(None, [run], 'explain', files=arguments) == 0
  said = capsys.readouterr().out
  assert '3 rows' in said
  assert '1 of 3 molecules explained, 2 not' in said
  other = files.Settings(reference='empty')
  with pytest.raises(ConfigError, match=r'reference'):
    files.explain_files([run], source, folder, other)


def test_wrong_settings_are_refused(run, tmp_path):
  with pytest.raises(ConfigError, match=r'--reference: .*there is free_atoms'):
    files.explain_files(
      [run], 'x.xyz', tmp_path, files.Settings(reference='vacuum')
    )
  with pytest.raises(ConfigError, match=r'--formats: unknown format'):
    files.explain_files(
      [run], 'x.xyz', tmp_path, files.Settings(formats=('mrc2',))
    )
