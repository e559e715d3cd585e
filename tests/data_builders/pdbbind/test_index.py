"""Index files: every line is an entry or a reason, as PDBbind writes them."""

import math
import re

import pytest

from data_builders.pdbbind.readers import index
from edjax.data import pdb_ids

# Made-up rows in the format of INDEX_general_PL_data, 2013 to 2020.
TEXT = """\
# ==============================================================
# PDB code, resolution, release year, -logKd/Ki, Kd/Ki, reference, ligand name
# ==============================================================
1abc  2.20  2012   0.40  Ki=400mM      // 1abc.pdf (NLG)
2ABC   NMR  1998   7.00  Kd=100nM      // 2abc.pdf (2-mer)

3abc  1.90  2003   9.52  IC50=300pM    // 3abc.pdf (_NAG) covalent complex
4abc  1.90  2003  15.22  Kd=0.6fM      // 4abc.pdf (GAB&PMP), incomplete ligand
5abc  1.90  2003   6.00  Kd~1uM        // 5abc.pdf ((R)-XYZ)
6abc  1.90  2003   5.00  IC50<10uM     // 6abc.pdf (ABC)
7abc  1.90  2003   5.00  Ki>=10uM      // 7abc.pdf (ABC)
8abc  1.90  2003   5.00  Ki<=1.0e1uM   // 8abc.pdf (ABC)
9abc  1.90  2003   2.00  Kd>0.01M      // 9abc.pdf
1abd  1.90  2003   6.15  Ki=0.7uM      // 1abd.pdf (ABC)
1abe  1.90  2003   6.25  Ki=0.7uM      // 1abe.pdf (ABC)
"""
BAD = {
  'abcd  1.90  2003   6.00  Ki=1uM': "'abcd' is not a PDB id",
  '1xyz  1.90  2003': '1xyz: 3 columns',
  '1xyz  1.90  2003   many  Ki=1uM': "1xyz: pK 'many'",
  '1xyz  1.90  2003   nan   Ki=1uM': '1xyz: pK nan is outside',
  '1xyz  1.90  2003   700   Ki=1uM': '1xyz: pK 700 is outside',
  '1xyz  1.90  2003   6.00  Ka=1uM': "1xyz: cannot read 'Ka=1uM'",
  '1xyz  1.90  2003   6.00  Ki=1kM': "1xyz: cannot read 'Ki=1kM'",
  '1xyz  1.90  2003   6.00  Ki=0uM': "1xyz: cannot read 'Ki=0uM'",
  '1xyz  1.9O  2003   6.00  Ki=1uM': "1xyz: resolution '1.9O'",
  '1xyz  1.90  3002   6.00  Ki=1uM': "1xyz: '3002' is not a year",
  '1ABC  1.90  2003   6.00  Ki=1uM': '1abc: again (line 4 counts)',
}  # fmt: skip


def write(path, text):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding='utf-8')
  return path


def test_rows_as_published(tmp_path):
  read = index.read_index(write(tmp_path / 'INDEX_general_PL_data.2020', TEXT))
  assert read.skipped == ()
  rows = [
    (e.pdb_id, e.ligand, e.pk, e.measure, e.relation, e.year)
    for e in read.entries
  ]
  assert rows == [
    ('1abc', 'NLG', 0.40, 'Ki', '=', 2012),
    ('2abc', '2-mer', 7.00, 'Kd', '=', 1998),
    ('3abc', '_NAG', 9.52, 'IC50', '=', 2003),
    ('4abc', 'GAB&PMP', 15.22, 'Kd', '=', 2003),
    ('5abc', '(R)-XYZ', 6.00, 'Kd', '~', 2003),
    ('6abc', 'ABC', 5.00, 'IC50', '<', 2003),
    ('7abc', 'ABC', 5.00, 'Ki', '>=', 2003),
    ('8abc', 'ABC', 5.00, 'Ki', '<=', 2003),
    ('9abc', '', 2.00, 'Kd', '>', 2003),
    ('1abd', 'ABC', 6.15, 'Ki', '=', 2003),
    ('1abe', 'ABC', 6.25, 'Ki', '=', 2003),
  ]
  assert read.entries[0].resolution == 2.2
  assert math.isnan(read.entries[1].resolution)
  assert read.entries[1].source == 'INDEX_general_PL_data.2020:5'


def test_what_disagrees_or_is_added_is_noted(tmp_path):
  read = index.read_index(write(tmp_path / 'INDEX', TEXT))
  assert read.notes == (
    (7, '3abc: covalent complex'),
    (8, '4abc: incomplete ligand'),
    (13, '9abc: no name of a ligand'),
    # 0.7 uM is 6.155: rounding (1abd) passes, 0.1 does not.
    (15, '1abe: pK 6.25, but Ki=0.7uM is 6.15'),
  )


def test_bounds_are_excluded(tmp_path):
  read = index.read_index(write(tmp_path / 'INDEX', TEXT))
  excluded = index.excluded(read.entries)
  assert list(excluded) == ['6abc', '7abc', '8abc', '9abc']
  assert excluded['6abc'] == 'IC50< is only a bound'
  kept = [e for e in read.entries if e.pdb_id not in excluded]
  assert {e.relation for e in kept} == {'=', '~'}


@pytest.mark.parametrize('line', BAD)
def test_unreadable_rows_are_listed(tmp_path, line):
  path = write(tmp_path / 'INDEX', TEXT + line + '\n')
  read = index.read_index(path)
  assert len(read.entries) == 11
  ((number, reason),) = read.skipped
  assert number == 16
  assert reason.startswith(BAD[line])


def test_csv_by_names_of_columns(tmp_path):
  path = write(
    tmp_path / 'mine.csv',
    '\ufeffPDB ID;-logKd/Ki;Ligand_Code;measure;comment\n'
    '1ABC;6.5;LIG;IC50;x\n\n2abc;9;;Kd~1nM\n1E+66;5;;;\n3abc;;;;\n',
  )
  read = index.read_index(path)
  first, second = read.entries
  assert first[:5] == ('1abc', 'LIG', 6.5, 'IC50', '=')
  assert second[:5] == ('2abc', '', 9.0, 'Kd', '~')
  assert second.year == 0
  assert math.isnan(second.resolution)
  assert second.source == 'mine.csv:4'
  assert [line for line, _ in read.skipped] == [5, 6]


@pytest.mark.parametrize(
  ('header', 'message'),
  [
    ('pdb,logKd/Ki', 'no column for pk'),
    ('entry,pK', 'no column for pdb_id'),
    ('pdb,id,pK', 'which column is pdb_id: pdb, id'),
    ('', 'no column for pdb_id'),
  ],
)
def test_csv_without_clear_columns(tmp_path, header, message):
  path = write(tmp_path / 'mine.csv', f'{header}\n1abc,5\n')
  with pytest.raises(ValueError, match=re.escape(message)):
    index.read_index(path)


def test_nothing_readable_is_an_error(tmp_path):
  path = write(tmp_path / 'INDEX_core.2016', '1abc\n2abc\n')
  with pytest.raises(ValueError, match=r'line 1: 1abc: 1 columns.*read_ids'):
    index.read_index(path)
  with pytest.raises(ValueError, match='it is empty'):
    index.read_index(write(tmp_path / 'INDEX', '# nothing\n'))
  # nM in a column that must hold pK.
  path = write(tmp_path / 'nm.csv', 'id,affinity\n1abc,250\n')
  with pytest.raises(ValueError, match='-log10 of mol/l'):
    index.read_index(path)


def test_id_lists(tmp_path):
  path = write(
    tmp_path / 'ids', '# core\n2ABC\n\n1abc  2008  Q9Z9H6  NAME # x\n'
  )
  assert pdb_ids.read_ids(path) == ('2abc', '1abc')
  path = write(tmp_path / 'astex', '1G9V_RQ3\n1914_XXX\n')
  assert pdb_ids.read_ids(path) == ('1g9v', '1914')
  for text, message in (
    ('1abc\nxabc\n', "line 2: 'xabc' is not a PDB id"),
    ('1abc\n1ABC\n', 'line 2: 1abc again'),
    ('# 1abc\n', 'no ids'),
    ('1034\n2345\n', 'numbers of rows'),
    ('0\n1\n', "line 1: '0' is not"),
  ):
    with pytest.raises(ValueError, match=message):
      pdb_ids.read_ids(write(tmp_path / 'bad', text))


def test_order_of_what_is_found(tmp_path):
  for name in (
    'index/INDEX_general_PL_data.2016',
    'refined-set/index/INDEX_general_PL_data.2020',
    'refined-set/index/INDEX_refined_data.2020',
    'refined-set/index/INDEX_refined_set.2020',
    'INDEX_core_data.2013',
    'INDEX_core.2016',
    'INDEX_general_PP_data.2020',
    'INDEX_general_PL_name.2020',
    '1abc/INDEX_general_PL_data.2021',
    'README.txt',
  ):
    write(tmp_path / name, TEXT)
  write(tmp_path / 'manifest.csv', 'id,pK\n1abc,5\n')
  write(tmp_path / 'other.csv', 'id,mass\n1abc,5\n')
  found = index.find_indices(tmp_path)
  assert [str(f.path.relative_to(tmp_path)) for f in found] == [
    'refined-set/index/INDEX_general_PL_data.2020',
    'index/INDEX_general_PL_data.2016',
    'refined-set/index/INDEX_refined_data.2020',
    'INDEX_core_data.2013',
    'manifest.csv',
    'INDEX_general_PL_name.2020',
    'refined-set/index/INDEX_refined_set.2020',
    'INDEX_core.2016',
  ]
  assert [f.content for f in found] == ['data'] * 5 + ['ids'] * 3
  assert found[0][1:] == ('general', 'data', 2020)
  write(tmp_path / 'index.csv', 'id,pK\n1abc,5\n')
  assert index.find_indices(tmp_path)[0].path.name == 'index.csv'


@pytest.mark.parametrize(
  ('name', 'rows', 'excluded', 'nameless'),
  [
    ('INDEX_general_PL_data.2020', 19_443, 372, ['5xff', '5xfj']),
    ('INDEX_general_PL_data.2016', 13_308, 203, []),
    ('INDEX_refined_data.2019', 4_852, 2, []),
    ('INDEX_refined_data.2016', 4_057, 2, []),
    ('INDEX_core_data.2013', 195, 0, []),
  ],
)
def test_real_indices(shared_data, name, rows, excluded, nameless):
  path = shared_data / 'pdbbind' / 'index' / name
  read = index.read_index(path)
  assert len(read.entries) == rows
  assert read.skipped == ()
  # Every pK agrees with the value as written; two lines end in '()'.
  assert [note.reason for note in read.notes] == [
    f'{key}: no name of a ligand' for key in nameless
  ]
  # Another way to see bounds: characters in the column.
  words = [line.split() for line in path.read_text().splitlines()]
  bounds = [
    w for w in words if not w[0].startswith('#') and set('<>') & {*w[4]}
  ]
  assert len(bounds) == excluded
  assert len(index.excluded(read.entries)) == excluded
  assert all(e.year for e in read.entries)


def test_real_tolerance_is_needed(shared_data):
  """pK have two decimals: off by up to 0.005 and by nothing but rounding."""
  path = shared_data / 'pdbbind' / 'index' / 'INDEX_general_PL_data.2020'
  row = re.compile(r'^\w+ +\S+ +\d+ +(\S+) +\w+[=~<>]+([\d.]+)(\w+) ', re.M)
  off = [
    abs(float(pk) + math.log10(float(value) * index.UNITS[unit]))
    for pk, value, unit in row.findall(path.read_text())
  ]
  assert len(off) == 19_443
  assert 0.0045 < max(off) < 0.0051 < index.TOLERANCE


def test_real_lists_and_manifest(shared_data):
  root = shared_data / 'pdbbind'
  core = pdb_ids.read_ids(root / 'index' / 'INDEX_core.2016')
  assert len(core) == 285
  assert set(core) == set(pdb_ids.read_ids(root / 'splits' / 'casf2016.txt'))
  assert len(
    pdb_ids.read_ids(root / 'index' / 'INDEX_general_PL_name.2016')
  ) == (13_308)
  assert len(pdb_ids.read_ids(root / 'index' / 'INDEX_refined_name.2016')) == (
    4_057
  )
  assert index.find_indices(root)[0].path.name == 'INDEX_general_PL_data.2020'
  read = index.read_index(root / 'manifest.csv')
  assert len(read.entries) == 386
  # CASF's own values, which its manifest lists beside another measure.
  assert [note.reason.split(':')[0] for note in read.notes] == ['3n76', '3p5o']
