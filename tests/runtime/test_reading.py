"""Damaged files: what the fuzzer found, and a little of it."""

import bz2
import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from support.made_up_ligands import METHANOL, files, sdf

from benchmarks.robustness import fuzz
from data_builders.pdbbind import sequence_clusters
from data_builders.pdbbind.readers import (
  bond_repair,
  layout,
  ligand,
  structure,
  types,
)
from data_builders.qm9 import archive, parse
from edjax.data import complex_splits, molecule_splits
from edjax.runtime import reading


def test_what_lies_in_a_folder(tmp_path, unreadable):
  assert reading.found_in(tmp_path / 'x') == f'there is no folder {tmp_path}/x'
  assert reading.found_in(tmp_path) == f'{tmp_path} holds no files'
  for name in ('b.sdf', 'a/c.sdf', 'a/d.xlsx', '.hidden', '._b.sdf', 'x/e.sdf'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('')
  (tmp_path / 'a' / 'up').symlink_to(tmp_path)
  unreadable(tmp_path / 'x')
  assert reading.found_in(tmp_path) == (
    f'{tmp_path} holds 3 files (2 .sdf, 1 .xlsx), such as b.sdf, a/c.sdf, '
    f'a/d.xlsx; {tmp_path}/x cannot be read (Permission denied)'
  )
  below = reading.below(tmp_path)
  assert [p.name for p in below.files] == ['b.sdf', 'c.sdf', 'd.xlsx']
  assert below.unreadable == ((tmp_path / 'x', 'Permission denied'),)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_texts_say_their_encoding(tmp_path, encoding):
  path = tmp_path / 'file'
  path.write_text('{"Å": 1}', encoding=encoding)
  assert reading.text(path) == '{"Å": 1}'
  assert reading.read_json(path) == {'Å': 1}


@pytest.mark.parametrize('encoding', ['utf-16-le', 'utf-32', 'latin-1'])
def test_texts_that_do_not_say_it_are_refused(tmp_path, encoding):
  path = tmp_path / 'file'
  path.write_text('{"Å": 1}', encoding=encoding)
  with pytest.raises(ValueError, match='file'):
    reading.text(path)
  if encoding == 'latin-1':
    assert reading.text(path, errors='replace') == '{"\ufffd": 1}'


@pytest.mark.parametrize(
  'content',
  [
    b'{"train": [1], "validation": [2], "test": [3',
    b'{"train": [1], "validation": [2], "test": ["\xff"]}',
    b'[' * 100_000,
    b'{"train": 1, "validation": [2], "test": [3]}',
    b'{"train": "12", "validation": [2], "test": [3]}',
    b'{"train": [1, 1], "validation": [2], "test": [3]}',
    b'{"train": [1], "validation": [2], "test": []}',
    b'',
  ],
)
def test_lists_of_a_split_name_their_file(tmp_path, content):
  path = tmp_path / 'lists.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r'lists\.json'):
    molecule_splits.make_split(
      'file', ids=['m_1', 'm_2', 'm_3'], heavy_atoms=[1, 1, 1], seed=0,
      path=str(path), fractions=(0.1, 0.1), uncharacterized=None,
    )  # fmt: skip


@pytest.mark.parametrize(
  'read',
  [complex_splits.read_json, sequence_clusters.read_casf_clusters],
)
@pytest.mark.parametrize('content', [b'{"a": ', b'{"a": "\xff"}', b'[' * 10**5])
def test_other_json_names_its_file(tmp_path, read, content):
  path = tmp_path / 'lists.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=r'lists\.json'):
    read(path)


@pytest.mark.parametrize(
  ('row', 'why'),
  [
    (b'1abc,train', 'has not the 5 fields'),  # was: left out without a word
    (b'1abc,train,True,False,x,y', 'has not the 5 fields'),
    (b'1abc,train,True,\xff,False', "codec can't decode"),
    (b'1abc,train,' + b'x' * 200_000 + b',False,x', 'field larger'),
  ],
)
def test_rows_of_a_table(tmp_path, row, why):
  path = tmp_path / 'LP.csv'
  head = b',new_split,CL1,covalent,x\n2abc,train,True,False,x\n'
  path.write_bytes(head + row + b'\n')
  with pytest.raises(ValueError, match=rf'LP\.csv(?s:.*){why}'):
    complex_splits.read(path)


def test_a_small_file_that_unpacks_to_much(tmp_path, monkeypatch):
  monkeypatch.setattr(reading, 'MAX_BYTES', 10_000)
  path = tmp_path / '1abc.pdb.gz'
  path.write_bytes(gzip.compress(b'x' * 10_000))
  assert reading.unpacked(path) == b'x' * 10_000
  path.write_bytes(gzip.compress(b'x' * 10_001))
  with pytest.raises(ValueError, match=r'1abc\.pdb\.gz has more .* unpacked'):
    reading.unpacked(path)
  with pytest.raises(types.ComplexError, match='has more'):
    layout.read_text(path)
  path.write_bytes(b'x' * 10_001)
  with pytest.raises(ValueError, match=r'has more than 0 MiB$'):
    reading.unpacked(path)


def test_letters_of_other_encodings_stay_in_their_columns(tmp_path):
  """gemmi cuts columns by bytes: half a character was a UnicodeDecodeError."""
  line = 'ATOM      1  CA  GLY A   1       1.000   2.000   3.000  1.00  5.00'
  path = tmp_path / '1abc_pocket.pdb'
  for at in range(12, 22):  # of the atom, the residue and the chain
    raw = bytearray(f'{line}           C\n'.encode())
    raw[at] = 0xE9
    path.write_bytes(bytes(raw))
    found = structure.read(path)
    atom = found[0][0][0][0]
    assert atom.pos.tolist() == [1.0, 2.0, 3.0]
    assert (found[0][0].name + found[0][0][0].name).isascii()


def test_rdkit_violating_its_own_assumptions(tmp_path, monkeypatch):
  """A RuntimeError, not the ValueError of a molecule that it refuses."""
  from rdkit import Chem

  good = files(tmp_path, sdf(*METHANOL))
  whole = ligand.read_ligand(good)

  def violated(*_):
    raise RuntimeError('Pre-condition Violation\n\tgetValence')

  monkeypatch.setattr(Chem, 'SanitizeMol', violated)
  found = ligand.read_ligand(good)
  assert found.molecule is None
  assert any('Pre-condition Violation getValence' in p for p in found.problems)
  values = ligand.descriptors(whole.molecule, whole.atoms)
  assert values['heavy_atoms'] == 2
  assert np.isnan(values['log_p'])
  assert bond_repair.repair(whole.molecule) is None


RECORD = """5
gdb 1 157.7 157.7 157.7 0. 13.21 -0.3877 0.1171 0.5048 35.3641 0.0447 \
-40.47893 -40.476062 -40.475117 -40.498597 6.469
C\t0.\t0.\t0.\t-0.5
H\t0.6\t0.6\t0.6\t0.1
H\t0.6\t-0.6\t-0.6\t0.1
H\t-0.6\t0.6\t-0.6\t0.1
H\t-0.6\t-0.6\t0.6\t0.1
1341.\t1341.\t1341.\t1562.\t1562.\t3038.\t3151.\t3151.\t3151.
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""


def test_an_energy_that_overflows():
  assert parse.parse_xyz(RECORD).targets['u0_atom'] < 0
  with pytest.raises(ValueError, match=r'line 2: u = 1e.308 Ha is no'):
    parse.parse_xyz(RECORD.replace('-40.476062', '1e308'))


def packed(content, size=None, name='dsgdb9nsd_000001.xyz'):
  """A tar file whose header may lie about the size."""
  buffer = io.BytesIO()
  info = tarfile.TarInfo(name)
  info.size = len(content) if size is None else size
  buffer.write(info.tobuf(tarfile.USTAR_FORMAT))
  buffer.write(content + bytes(-len(content) % 512) + bytes(1024))
  return buffer.getvalue()


def test_archives_that_lie_or_are_damaged(tmp_path):
  path = tmp_path / 'a.tar'
  text = RECORD.encode()
  path.write_bytes(packed(text))
  assert len(archive.read(path)) == 1
  for content, why in (
    (packed(text.replace(b'gdb', b'gd\xff')), 'dsgdb9nsd_000001.xyz: .*ascii'),
    (packed(text, size=2**32), 'claims to have 4294967296 bytes'),
    (packed(text)[:700], 'damaged or cut short'),
    (bz2.compress(packed(text))[:-20], 'damaged or cut short'),
    (_broken_gzip(packed(text)), 'damaged or cut short'),
  ):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=why):
      archive.read(path)


def _broken_gzip(content):
  """A block that refers to what was never there: a zlib.error."""
  whole = bytearray(gzip.compress(content))
  whole[12:40] = bytes(28)
  return bytes(whole)


def test_names_in_archives_lead_nowhere(tmp_path):
  """Nothing is unpacked to disk, whatever a member is called."""
  before = sorted(tmp_path.rglob('*'))
  path = tmp_path / 'a.tar'
  path.write_bytes(packed(RECORD.encode(), name='../../dsgdb9nsd_000001.xyz'))
  assert archive.read(path)[0].index == 1
  assert sorted(tmp_path.rglob('*')) == [*before, path]


@pytest.mark.parametrize('reader', fuzz.SHARES)
def test_a_little_of_the_fuzzer(shared_data, reader):
  """`benchmarks.robustness.fuzz` does 100,000 cases; a process each reader."""
  found = dict(fuzz.watched(str(shared_data), reader, 40))
  assert len(found) == 40
  assert set(found.values()) <= {'result', 'refused'}, found
  assert 'refused' in found.values() or reader.startswith('index')
  assert 'result' in found.values()


def test_the_fuzzer_finds_what_is_wrong(tmp_path):
  """Negative controls: each kind of failure is told from a refusal."""

  class Broken(fuzz.Readers):
    def _broken_files(self):
      return [('a.txt', b'1 2 3\n' * 20)]

    def _broken(self, path):
      content = path.read_bytes()
      kind = len(content) % 5
      if kind == 0:
        raise KeyError('x')
      if kind == 1:
        raise ValueError('something')
      if kind == 2:
        raise ValueError(f'{path.name}: something')
      yield [np.nan if kind == 3 else 1.0]

  readers = Broken(tmp_path)
  outcomes = {
    fuzz.outcome(readers, 'broken', seed, tmp_path).partition(':')[0]
    for seed in range(200)
  }
  assert outcomes == {'exception', 'unnamed', 'refused', 'silent', 'result'}


def test_mutations_change_files_and_repeat():
  import random

  content = json.dumps({'a': list(range(50))}, indent=1).encode()
  changed = [
    fuzz.mutate(content, [content], random.Random(seed)) for seed in range(300)
  ]
  again = [
    fuzz.mutate(content, [content], random.Random(seed)) for seed in range(300)
  ]
  assert changed == again
  assert sum(c != content for c in changed) > 250
  extreme = b'99999999999999999999', b'1e999', b'nan', b'2147483648'
  assert any(e in c for e in extreme for c in changed)
