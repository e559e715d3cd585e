"""Index files: every line is an entry or a reason, as PDBbind writes them."""

import csv
import math
import re

import pytest

from data_builders.pdbbind.readers import affinities, index
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
  'a/cd  1.90  2003   6.00  Ki=1uM': "'a/cd' is no id of a complex",
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
    (15, '1abe: pK 6.25, but the stated Ki is 6.15'),
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
    ('pdb,logKd/Ki', 'no column for affinities'),
    ('entry,pK', 'no column for ids'),
    ('pdb,id,pK', 'which column is id: pdb, id'),
    ('', 'no column for ids'),
  ],
)
def test_csv_without_clear_columns(tmp_path, header, message):
  path = write(tmp_path / 'mine.csv', f'{header}\n1abc,5\n')
  with pytest.raises(ValueError, match=re.escape(message)):
    index.read_index(path)


def test_release_2020r1_has_no_column_of_pk(tmp_path):
  name = 'INDEX_general_PL.2020R1.lst'
  text = (
    '# PDB code, resolution, release year, binding data, reference, ligand\n'
    '4gfm  2.30  2012  Ki=316.23nM     // 4gfm.pdf (0X5)\n'
    '2abc   NMR  1998  IC50~1 µM       // 2abc.pdf (2-mer)\n'
    '3abc  2.30  2012  4gfm.pdf        // 3abc.pdf (0X5)\n'
  )
  read = index.read_index(write(tmp_path / name, text))
  assert [e[:6] for e in read.entries] == [
    ('4gfm', '0X5', 6.5, 'Ki', '=', 2.3),
    ('2abc', '2-mer', 6.0, 'IC50', '~', pytest.approx(math.nan, nan_ok=True)),
  ]
  assert [line for line, _ in read.skipped] == [4]
  assert read.notes == ()


def test_the_core_set_of_casf(tmp_path):
  text = (
    '#code  resl  year   logKa    Ka              target\n'
    '4gfm  2.30  2012   6.50  Ki=316.23nM  7\n'
    '3zso  1.70  2012   5.12  Ki=7.6uM        1\n'
  )
  path = tmp_path / 'CASF-2016' / 'power_scoring' / 'CoreSet.dat'
  read = index.read_index(write(path, text))
  assert [(e.pdb_id, e.pk, e.year) for e in read.entries] == [
    ('4gfm', 6.5, 2012),
    ('3zso', 5.12, 2012),
  ]
  assert read.notes == read.skipped == ()
  (found,) = index.find_indices(tmp_path)
  assert found[1:] == ('core', 'data', (2016, 0))


@pytest.mark.parametrize(
  ('header', 'cell', 'unit', 'expected'),
  [
    # -log10 of the values in mol/l, by hand.
    ('Ki (nM)', '316.23', '', ('Ki', '=', 6.5)),
    ('kd_uM', '>10', '', ('Kd', '>', 5.0)),
    ('IC50 [µM]', '2', '', ('IC50', '=', 5.7)),
    ('Affinity(mM)', '~0.4', '', ('', '~', 3.4)),
    ('Kd (M)', '1e-9', '', ('Kd', '=', 9.0)),
    ('Kd', '1e-9', 'M', ('Kd', '=', 9.0)),
    ('affinity', '12', 'nM', ('', '=', 7.92)),
    ('affinity', '6.5', 'pK', ('', '=', 6.5)),
    ('measure', 'Ki = 316.23 nM', '', ('Ki', '=', 6.5)),
    ('pIC50', '6.5', '', ('', '=', 6.5)),
  ],
)
def test_values_are_converted_where_a_unit_is_stated(
  tmp_path, header, cell, unit, expected
):
  path = write(tmp_path / 'index.csv', f'id,{header}\n1abc,{cell}\n')
  assert index.find_indices(tmp_path)  # whether the unit is known or not
  (entry,) = index.read_index(path, unit).entries
  assert (entry.measure, entry.relation, entry.pk) == expected


@pytest.mark.parametrize('header', ['affinity', 'Ki', 'Binding Affinity'])
def test_values_without_a_unit_are_refused(tmp_path, header):
  path = write(tmp_path / 'index.csv', f'pdb,{header}\n4gfm,12\n1abc,316\n')
  assert index.find_indices(tmp_path)[0].path == path
  with pytest.raises(ValueError, match=r'does not say its unit.*affinity_unit'):
    index.read_index(path)
  # Beside pK it says nothing and is not asked for.
  write(path, f'pdb,pK,{header}\n4gfm,7.92,12\n')
  assert index.read_index(path).entries[0].pk == 7.92


@pytest.mark.parametrize(
  ('header', 'cells'),
  [
    ('Ki (nM)', 'n.d.'),
    ('value,unit', '5,%'),
    ('Ki (nM),Kd (nM)', '9,9'),
    ('Ki (nM)', ''),
  ],
)
def test_what_stands_beside_pk_need_not_be_readable(tmp_path, header, cells):
  text = f'id,pK,{header}\n1abc,7.5,{cells}\n'
  (entry,) = index.read_index(write(tmp_path / 'index.csv', text)).entries
  assert entry.pk == 7.5
  assert math.isnan(entry.stated)


def test_bad_values_are_listed(tmp_path):
  table = 'id,Ki (nM)\n1abc,0\n2abc,-3\n3abc,"1,000"\n4abc,\n5abc,1e-30\n'
  path = write(tmp_path / 'index.csv', table + '6abc,1000\n')
  read = index.read_index(path)
  assert [(e.pdb_id, e.pk) for e in read.entries] == [('6abc', 6.0)]
  assert [line for line, _ in read.skipped] == [2, 3, 4, 5, 6]
  assert all(reason[1:5] == 'abc:' for _, reason in read.skipped)


def test_the_table_of_hiqbind(tmp_path):
  header = (
    'PDBID,Resolution,Year,Ligand Name,Ligand Chain,Ligand Residue Number,'
    'Binding Affinity Measurement,Binding Affinity Sign,Binding Affinity Value,'
    'Binding Affinity Unit,Log Binding Affinity\n'
  )
  row = '4gfm,2.30,2012,0X5,A,1201,ki,=,316.23,nM,-6.5\n'
  other = '2k46,NMR,2008,GLC-GLC,B,1-2,kd,<,26.3,uM,-4.58\n'
  unit = '1abc,1.0,2008,LIG,B,1,kd,=,26.3,mg/l,-4.58\n'
  text = header + row + row.replace('A,1201', 'B,1202') + other + unit
  read = index.read_index(write(tmp_path / 'hiqbind.csv', text))
  assert [e[:5] for e in read.entries] == [
    ('4gfm', '0X5', 6.5, 'Ki', '='),
    ('2k46', 'GLC-GLC', 4.58, 'Kd', '<'),
  ]
  # The second copy of the ligand says the same.
  assert read.skipped == ((5, "1abc: unknown unit 'mg/l'"),)


def test_real_table_of_hiqbind(shared_data):
  """Its column of logarithms was computed by others."""
  path = shared_data / 'pdbbind' / 'index' / 'pdbbind_opt_sm.csv'
  with path.open(newline='') as file:
    logs = {r['PDBID']: r['Log Binding Affinity'] for r in csv.DictReader(file)}
  read = index.read_index(path)
  assert len(read.entries) == len(logs) == 14_843
  for entry in read.entries:
    assert abs(entry.pk + float(logs[entry.pdb_id])) < 0.0051
  # This entry has two ligands, of one affinity.
  assert [reason[:11] for _, reason in read.skipped] == ['3x00: again']


def test_a_pk_that_contradicts_its_affinity_is_left_out(tmp_path):
  text = (
    '4gfm  2.30  2012   6.50  Ki=316mM      // 4gfm.pdf (0X5)\n'
    '1abc  2.30  2012   6.50  Ki=0.2uM      // 1abc.pdf (0X5)\n'
    '2abc  2.30  2012   6.50  Ki=316nM      // 2abc.pdf (0X5)\n'
  )
  read = index.read_index(write(tmp_path / 'INDEX', text))
  excluded = index.excluded(read.entries)
  assert list(excluded) == ['4gfm']
  assert 'pK 6.50 contradicts the stated Ki, which is 0.50' in excluded['4gfm']
  assert 'config.data.max_pk_difference=0.5' in excluded['4gfm']
  assert list(index.excluded(read.entries, 0.1)) == ['4gfm', '1abc']
  assert not index.excluded(read.entries, 99.0)
  table = 'id,pK,Ki (mM)\n4gfm,6.5,316\n'
  read = index.read_index(write(tmp_path / 'index.csv', table))
  assert list(index.excluded(read.entries)) == ['4gfm']


def test_resolutions_and_years_that_are_not_known(tmp_path):
  table = 'id,pK,resolution,year\n1abc,5,.,2012.0\n2abc,5,NA,\n3abc,5,,nan\n'
  read = index.read_index(write(tmp_path / 'index.csv', table))
  assert [e.year for e in read.entries] == [2012, 0, 0]
  assert all(math.isnan(e.resolution) for e in read.entries)


def test_ids_of_ones_own(tmp_path):
  table = 'id,pK\nCPD_001,6.5\n17,5\nbad/id,5\n1E+66,4\ncpd_001,3\n'
  read = index.read_index(write(tmp_path / 'index.csv', table))
  assert [e.pdb_id for e in read.entries] == ['cpd_001', '17']
  assert [line for line, _ in read.skipped] == [4, 5, 6]


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-be', 'utf-8-sig'])
def test_tables_in_other_encodings(tmp_path, encoding):
  text = 'id\tKi (µM)\r\n4gfm\t0.31623\r\n'
  mark = '\ufeff' if encoding == 'utf-16-be' else ''
  path = tmp_path / 'index.csv'
  path.write_bytes((mark + text).encode(encoding))
  assert index.find_indices(tmp_path)[0].path == path
  (entry,) = index.read_index(path).entries
  assert (entry.pdb_id, entry.pk) == ('4gfm', 6.5)
  path.write_bytes(text.encode('utf-16-le'))  # no mark says so
  with pytest.raises(ValueError, match=r'index\.csv is no text in UTF-8'):
    index.read_index(path)


def test_nothing_readable_is_an_error(tmp_path):
  path = write(tmp_path / 'INDEX_core.2016', '1abc\n2abc\n')
  with pytest.raises(ValueError, match=r'line 1: 1abc: 1 columns.*read_ids'):
    index.read_index(path)
  with pytest.raises(ValueError, match='it is empty'):
    index.read_index(write(tmp_path / 'INDEX', '# nothing\n'))
  # nM in a column that must hold pK.
  path = write(tmp_path / 'nm.csv', 'id,pK\n1abc,250\n')
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
    ('1abc\nx/bc\n', "line 2: 'x/bc' is no id"),
    ('1abc\n1ABC\n', 'line 2: 1abc again'),
    ('# 1abc\n', 'no ids'),
    ('1034\n2345\n', 'numbers of rows'),
    ('1e66\n1E+66\n', "line 2: '1E\\+66' is a number"),
  ):
    with pytest.raises(ValueError, match=message):
      pdb_ids.read_ids(write(tmp_path / 'bad', text))


def test_newer_releases_and_folders_of_years(tmp_path):
  for name in (
    'index/INDEX_general_PL.2020R1.lst',
    '2020/INDEX_general_PL_data.2020',  # a year, not the PDB id 2020
    '._INDEX_general_PL_data.2021',  # of macOS
    'index/INDEX_general_PP.2020R1.lst',
  ):
    write(tmp_path / name, TEXT)
  found = index.find_indices(tmp_path)
  assert [str(f.path.relative_to(tmp_path)) for f in found] == [
    'index/INDEX_general_PL.2020R1.lst',
    '2020/INDEX_general_PL_data.2020',
  ]


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
    lists = ('INDEX_core.2016', 'INDEX_refined_set.2020')
    write(tmp_path / name, '1abc\n2abc\n' if name.endswith(lists) else TEXT)
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
  assert found[0][1:] == ('general', 'data', (2020, 0))
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
    abs(float(pk) + math.log10(float(value) * affinities.UNITS[unit]))
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
