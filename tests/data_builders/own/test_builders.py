"""Names of users' datasets: those of earlier versions stay as they were."""

import pytest

from data_builders.own import builders
from data_builders.own.complexes_dataset_builder import Builder as Complexes
from data_builders.own.molecules_dataset_builder import Builder as Molecules


def test_names_are_those_of_earlier_versions(tmp_path):
  """A changed name would have every user build again."""
  (tmp_path / 'my mols.csv').write_text('smiles,y\nCCO,1\nCCN,2\n')
  of = {'data_dir': tmp_path}
  settings = {'source': str(tmp_path / 'my mols.csv'), 'id_column': 'y'}
  found = Molecules(config='gfn2', settings=settings, **of)
  assert found.builder_config.name == 'my_mols-8f652b12c24c-gfn2'
  (tmp_path / 'p.pdb').write_text('not read yet')
  (tmp_path / 'l.sdf').write_text('nor this')
  (tmp_path / 'pairs.csv').write_text('id,protein,ligand,y\na,p.pdb,l.sdf,1\n')
  settings = {'source': str(tmp_path / 'pairs.csv'), 'max_clashes': 3}
  found = Complexes(config='heavy', settings=settings, **of)
  assert found.builder_config.name == 'pairs-b44e7e41c65c-heavy'


def test_a_column_of_few_numbers_is_no_column_of_numbers():
  counts = {
    'y': {'numbers': 5, 'empty': 1, 'no_number': 2},
    'name': {'numbers': 1, 'empty': 0, 'no_number': 7},
    'all': {'numbers': 8, 'empty': 0, 'no_number': 0},
  }
  (line,) = builders.of_columns(counts)
  assert line.startswith('column y: 2 cells are no numbers')


@pytest.mark.parametrize(('n', 'lines'), [(0, 0), (3, 3), (5, 4)])
def test_the_first_reasons(n, lines):
  found = builders.first(list('abcde'[:n]))
  assert len(found) == lines
  assert ('  ... and 2 more' in found) == (n == 5)
