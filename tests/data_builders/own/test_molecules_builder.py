"""The dataset of a user's file: from the file to a pack."""

import csv
import pathlib

import numpy as np
import pytest
from ml_collections import ConfigDict

import data_builders
from configs import molecules_density
from data_builders.own import examples
from edjax import config as configuration
from edjax.config import ConfigError
from edjax.data import loading, splitting

# The column xtb_energy has the name of one of edjax's own.
TABLE = """id,smiles,unpaired,pIC50,class,remark,part,xtb_energy
a,CCO,,5.5,1,x,train,77
b,OCC,,6.5,1,the same molecule,train,77
c,CO,,>4,,x,Val,77
d,C1CC,,7,0,cannot be read,train,77
b,CC,,8,0,,test,77
a,CCC,,9,0,the same id,test,77
f,N,,,0,x,train,77
g,C[CH]C,0,2e0,0,no closed shell,test,77
h,CN,,3,,,,77
i,CF,,3,,,TEST,77
"""


def resolved(source, data_dir, **fields):
  config = molecules_density.get_config()
  config.data.update(
    {
      'source': str(source), 'data_dir': str(data_dir), 'workers': 1,
      'targets': ('pIC50', 'class'), **fields,
    }
  )  # fmt: skip
  return configuration.resolve(config).data


def by_part(source, data_dir, **fields):
  return resolved(
    source, data_dir, split='column', split_column='part', **fields
  )


def manifest(data_dir):
  (path,) = pathlib.Path(data_dir).glob('edjax_molecules/*/1.0.0/manifest.csv')
  with path.open(newline='') as file:
    return list(csv.DictReader(file))


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """A folder with own.csv and, in the folder data, what is made of it."""
  folder = tmp_path_factory.mktemp('own')
  (folder / 'own.csv').write_text(TABLE)
  return folder, loading.load_pack(by_part(folder / 'own.csv', folder / 'data'))


def test_what_can_be_used_is_in_the_pack(built):
  _, pack = built
  assert pack.ids == ('a', 'c', 'b', 'f', 'i')
  assert pack.index.tolist() == [1, 3, 5, 7, 10]
  nan = np.nan
  columns = pack.columns
  np.testing.assert_array_equal(columns['pIC50'], [5.5, nan, 8, nan, 3])
  np.testing.assert_array_equal(columns['class'], [1, nan, 0, 0, nan])
  assert 'remark' not in columns
  np.testing.assert_array_equal(pack.heavy_atoms(), [3, 2, 2, 1, 2])
  assert columns['made_up'].tolist() == [1] * 5
  assert columns['split_part'].tolist() == [0, 1, 2, 0, 2]
  assert (columns['xtb_energy'] < 0).all()


def test_the_manifest_says_why_the_others_are_not(built):
  folder, _ = built
  rows = manifest(folder / 'data')
  assert [row['id'] for row in rows] == list('abcdbafghi')
  assert rows[2]['where'] == 'own.csv, line 4'
  reasons = {
    row['where'].split()[-1]: row['reason']
    for row in rows
    if row['status'] == 'left out'
  }
  assert list(reasons) == ['3', '5', '7', '9', '10']
  assert reasons['3'] == 'duplicate: the same molecule as own.csv, line 2 (a)'
  assert reasons['5'].startswith('RDKit cannot read')
  assert reasons['7'] == 'duplicate: the same id as own.csv, line 2 (a)'
  assert 'does not fit unpaired=0' in reasons['9']
  assert reasons['10'] == "column 'part' is empty"
  assert rows[2]['notes'] == "pIC50: '>4' is no number"
  assert rows[0]['notes'] == ''


def test_the_report_counts_cells(built):
  folder, _ = built
  settings = {'source': str(folder / 'own.csv'), 'split_column': 'part'}
  builder = data_builders.build('molecules', folder / 'data', settings=settings)
  report = data_builders.report(builder)
  assert (report['read'], report['written'], report['failed']) == (10, 5, 5)
  # The radical is among them: it fails later.
  assert report['columns']['pIC50'] == {
    'numbers': 4, 'empty': 1, 'no_number': 1,
  }  # fmt: skip
  said = builder.summary(report)
  assert '5 of 10 records' in said
  assert 'column pIC50: 1 cells are no numbers' in said
  assert '... and 2 more' in said


def test_a_run_leaves_out_molecules_without_its_targets(built):
  folder, pack = built
  data = by_part(folder / 'own.csv', folder / 'data')
  data = ConfigDict({**data, 'split': 'random'})
  data.validation_fraction = data.test_fraction = 0.3
  split = splitting.make_split(pack, data)
  used = np.concatenate([split.train, split.validation, split.test])
  assert {pack.ids[row] for row in used} == {'a', 'b', 'f', 'i'}


def test_a_column_divides(built):
  folder, pack = built
  data = by_part(folder / 'own.csv', folder / 'data')
  with pytest.raises(ConfigError, match=r"'column'.* nothing for validation"):
    splitting.make_split(pack, data)  # its only molecule has no number
  source = dict(pack.columns)
  source['class'] = np.zeros(5)
  pack = pack.__class__(**{**vars(pack), 'columns': source})
  split = splitting.make_split(pack, data)
  assert [pack.ids[row] for row in split.validation] == ['c']
  assert {pack.ids[row] for row in split.test} == {'b', 'i'}
  assert {pack.ids[row] for row in split.train} == {'a', 'f'}


def test_a_part_that_is_none_is_refused(tmp_path):
  (tmp_path / 'own.csv').write_text(TABLE.replace('Val', 'holdout'))
  with pytest.raises(ConfigError, match=r"line 4: column 'part' has 'holdout'"):
    loading.load_pack(by_part(tmp_path / 'own.csv', tmp_path))


@pytest.mark.parametrize(
  ('target', 'words'),
  [
    ('pIC5', r"no column 'pIC5'; .* mean 'pIC50'"),
    ('remark', r"no column 'remark'; it has 'class', 'pIC50'"),
    ('xtb_gap', r"no column 'xtb_gap'"),
  ],
)
@pytest.mark.parametrize('is_there', [True, False])
def test_targets_that_are_no_columns(built, tmp_path, target, words, is_there):
  """Whether or not the dataset is there; before anything is calculated."""
  folder, _ = built
  place = folder / 'data' if is_there else tmp_path
  data = by_part(folder / 'own.csv', place, targets=(target,))
  with pytest.raises(ConfigError, match=words):
    loading.load_pack(data)


def test_a_build_that_was_stopped_goes_on_and_a_changed_file_is_another(
  tmp_path, monkeypatch, capsys
):
  source = tmp_path / 'b.csv'
  source.write_text('smiles,y\nC,1\nN,2\n')
  data = resolved(source, tmp_path, targets=('y',))

  def stop(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(examples, 'finish', stop)
    with pytest.raises(KeyboardInterrupt):
      loading.load_pack(data)
  capsys.readouterr()
  first = loading.load_pack(data)
  # A geometry and an xTB result of each.
  assert '4 results of an earlier build' in capsys.readouterr().out
  # The same numbers under another name are another pack.
  source.write_text('smiles,z\nC,1\nN,2\n')
  second = loading.load_pack(resolved(source, tmp_path, targets=('z',)))
  assert first.columns['y'].tolist() == second.columns['z'].tolist() == [1, 2]
  assert 'y' not in second.columns
  assert first.fingerprint != second.fingerprint


def test_not_one_molecule(tmp_path):
  source = tmp_path / 'b.csv'
  source.write_text('smiles,y\nfoo,1\nCC.C,2\n')
  data = resolved(source, tmp_path, targets=('y',))
  with pytest.raises(ConfigError, match=r'not one of the 2 .*b.csv, line 2'):
    loading.load_pack(data)


def test_beam_makes_the_same(built, tmp_path):
  pytest.importorskip('apache_beam', reason='needs the extra "beam"')
  folder, pack = built
  data = by_part(folder / 'own.csv', tmp_path)
  piped = loading.load_pack(data, beam='--runner=DirectRunner')
  assert piped.fingerprint == pack.fingerprint
  assert piped.ids == pack.ids
  assert manifest(tmp_path) == manifest(folder / 'data')
