"""The parser on real records, the builder on made-up ones."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from support.made_up_qm9 import SHAPES, record_text, write_archive
from tensorflow_datasets.core import shuffle

import data_builders
from data_builders import xtb
from data_builders.molecules import builder, records
from data_builders.qm9 import archive, parse
from data_builders.support import download
from edjax import datasets
from edjax.chem import units
from edjax.runtime import locks

os.environ.setdefault('OMP_NUM_THREADS', '1')  # see test_xtb.py


@pytest.fixture
def manual(tmp_path):
  directory = tmp_path / 'manual'
  directory.mkdir()
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  write_archive(directory / 'dsgdb9nsd.xyz.tar.bz2', texts)
  return directory


@pytest.fixture(scope='module')
def real_records(shared_data):
  found = {}
  path = shared_data / 'qm9' / 'dsgdb9nsd.xyz.tar.bz2'
  with tarfile.open(path) as archive:
    for member in archive:
      name = pathlib.PurePosixPath(member.name).name
      found[name] = archive.extractfile(member).read().decode()
      if len(found) == 200:
        return found
  return found


def test_real_methane(real_records):
  methane = parse.parse_xyz(real_records['dsgdb9nsd_000001.xyz'])
  assert methane.example_id == 'gdb_000001'
  assert methane.numbers.tolist() == [6, 1, 1, 1, 1]
  assert methane.smiles == 'C'
  np.testing.assert_array_equal(
    methane.coords[1], [0.0021504159, -0.0060313176, 0.0019761203]
  )
  published = {
    'mu': 0.0, 'alpha': 13.21, 'homo': -0.3877, 'lumo': 0.1171,
    'gap': 0.5048, 'r2': 35.3641, 'zpve': 0.044749, 'u0': -40.47893,
    'u': -40.476062, 'h': -40.475117, 'g': -40.498597, 'cv': 6.469,
  }  # fmt: skip
  assert {key: methane.targets[key] for key in published} == published
  # kcal/mol, as MoleculeNet's qm9.csv lists them (MoleculeNet: Z. Wu et al.,
  # Chem. Sci. 2018, 9, 513). Its conversion has six digits.
  for key, kcal in {
    'u0': -395.999595, 'u': -398.643290, 'h': -401.014647, 'g': -372.471772,
  }.items():  # fmt: skip
    electronvolts = kcal / 627.5095 * units.HARTREE_EV
    assert methane.targets[f'{key}_atom'] == pytest.approx(
      electronvolts, rel=3e-6
    )


def test_real_records_are_consistent(real_records):
  assert len(real_records) == 200
  for name, text in real_records.items():
    record = parse.parse_xyz(text, name)
    t = record.targets
    assert set(t) == set(datasets.DATASETS['qm9'].targets)
    assert t['gap'] == pytest.approx(t['lumo'] - t['homo'], abs=1.01e-4)
    assert t['u0'] < t['u'] < t['h']
    assert t['g'] < t['u0']
    # H - U is RT at 298.15 K, for molecule and atoms alike.
    assert t['h'] - t['u'] == pytest.approx(0.000944, abs=2e-6)
    # Bound: 2 to 8 eV a bond, at least one bond an atom but one.
    assert -8 < t['u0_atom'] / len(record.numbers) < -2


def test_atom_energies_are_thermodynamically_consistent():
  """U - U0 is 3/2 RT, H - U is RT, both at 298.15 K."""
  rt = 8.31446261815324 * 298.15 / (units.HARTREE_EV * 96485.33212)
  for z in (1, 6, 7, 8, 9):
    u0, u, h, g = (parse.ATOM_ENERGIES[k][z] for k in ('u0', 'u', 'h', 'g'))
    assert u - u0 == pytest.approx(1.5 * rt, abs=1.5e-6)
    assert h - u == pytest.approx(rt, abs=1.5e-6)
    assert g < h


def test_mathematica_exponents():
  text = record_text(7, 'O').replace(' 0.7600000000', ' 7.6*^-1')
  assert '*^' in text
  record = parse.parse_xyz(text)
  plain = parse.parse_xyz(record_text(7, 'O'))
  np.testing.assert_array_equal(record.coords, plain.coords)
  tiny = record_text(7, 'O').replace(' 0.0000000000', ' 6.8*^-6')
  assert parse.parse_xyz(tiny).coords[0, 0] == 6.8e-6


WATER = record_text(7, 'O')


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'line 1: expected the number of atoms'),
    (WATER[: len(WATER) // 2], 'line 1: 3 atoms make 8 lines'),
    (WATER.replace('3\n', '4\n', 1), 'line 1: 4 atoms make 9 lines'),
    (WATER.replace('3\n', '2\n', 1), 'line 1: 2 atoms make 7 lines'),
    (WATER.replace('3\n', 'x\n', 1), 'line 1: expected the number'),
    (WATER.replace('gdb 7', 'gdb seven'), 'line 2: the index'),
    (WATER.replace('gdb 7\t', 'gdb 7\t1.0\t'), 'line 2: expected'),
    (WATER.replace('0.840000', 'nan'), "line 2: 'nan' is not finite"),
    (WATER.replace('O\t 0.00', 'O\t inf\t 0.00'), 'line 3: expected symbol'),
    (WATER.replace('0.7600000000', 'NaN', 1), "line 4: 'NaN' is not finite"),
    (WATER.replace('0.7600000000', '0.76a', 1), "line 4: '0.76a' is not"),
    (WATER.replace('H\t', 'Hx\t', 1), 'line 4: unknown element'),
    (WATER.replace('O\t 0', 'S\t 0'), 'line 3: S is none of the elements'),
    (WATER.replace('1000.0\t', 'H\t', 1), "line 6: 'H' is not a number"),
    (WATER.replace('O\tO', 'O\tO\tO'), 'line 7: expected two SMILES'),
  ],
)
def test_bad_records_name_file_and_line(text, message):
  assert text != WATER
  with pytest.raises(ValueError, match=f'dsgdb9nsd_000007.xyz, {message}'):
    parse.parse_xyz(text, 'dsgdb9nsd_000007.xyz')


def uncharacterized_text(ids):
  """As the authors lay it out: a heading, a table, a footer."""
  head = 'made up\n====\n\n  Index  SMILES  relaxed\n'
  rows = ''.join(f'{i:8d}   CCO   CCO   0.1\n' for i in ids)
  return f'{head}{rows}\nend of table\n'


def test_uncharacterized():
  ids = list(range(4, 4 + 43 * 3054, 43))
  assert parse.parse_uncharacterized(uncharacterized_text(ids[::-1])) == ids
  for wrong, message in (
    (ids[:-1], '3054 different ids, found 3053'),
    ([*ids[:-1], ids[0]], '3053 different'),
    ([*ids[:-1], 200_000], 'between 4 and 200000'),
  ):
    with pytest.raises(ValueError, match=message):
      parse.parse_uncharacterized(uncharacterized_text(wrong))


def test_build_and_read(manual, tmp_path):
  builder = data_builders.build('qm9', tmp_path / 'data', manual, workers=1)
  source = builder.as_data_source(split='all')
  assert len(source) == len(SHAPES)
  for row, (index, smiles) in zip(source, enumerate(SHAPES, 1), strict=True):
    record = parse.parse_xyz(record_text(index, smiles))
    assert row['example_id'] == f'gdb_{index:06d}'.encode()
    assert row['index'] == index
    assert row['smiles'] == smiles.encode()
    np.testing.assert_array_equal(row['numbers'], record.numbers)
    assert row['positions'].dtype == np.float64
    np.testing.assert_array_equal(row['positions'], record.coords)
    # Doubles come back as they went in, to the last bit.
    for name in datasets.DATASETS['qm9'].targets:
      assert row[name].dtype == np.float64
      assert row[name] == record.targets[name]
    result = xtb.run(record.numbers, record.coords)
    orbitals = row['orbitals'].reshape(
      row['n_orbitals'], len(record.numbers), row['orbital_width']
    )
    assert orbitals.dtype == np.float32
    np.testing.assert_array_equal(orbitals, result.orbitals)
    assert row['xtb_energy'] == result.energy
    assert row['xtb_gap'] == result.gap
    np.testing.assert_array_equal(row['xtb_dipole'], result.dipole)
  assert 'tensorflow' not in sys.modules
  report = data_builders.report(builder)
  assert (report['read'], report['written'], report['failed']) == (5, 5, 0)
  assert report['uncharacterized'] is None
  assert len(report['archive_sha256']) == 64
  assert report['method'] == 'GFN2-xTB, tblite 0.8.0'
  assert not (tmp_path / 'data' / 'downloads' / 'manual').exists()


def test_an_unpacked_archive_is_the_same_dataset(manual, tmp_path):
  packed = data_builders.build('qm9', tmp_path / 'a', manual, workers=1)
  folder = tmp_path / 'unpacked' / 'dsgdb9nsd.xyz'
  with tarfile.open(manual / 'dsgdb9nsd.xyz.tar.bz2') as members:
    members.extractall(folder, filter='data')
  # What macOS and others leave there.
  (folder / '._dsgdb9nsd_000001.xyz').write_bytes(b'\0\5\26\7')
  (folder / 'water.xyz').write_text('3\n')
  for place in (folder, folder.parent):
    data = tmp_path / place.name
    built = data_builders.build('qm9', data, place, workers=1)
    assert data_builders.fingerprint(built) == data_builders.fingerprint(packed)
  assert data_builders.report(built)['in_archive'] == len(SHAPES)
  first = folder / 'dsgdb9nsd_000001.xyz'
  first.write_text(first.read_text() + '\n')
  with pytest.raises(ValueError, match='was built from other files'):
    data_builders.build('qm9', data, place)


@pytest.mark.parametrize('name', ['dsgdb9nsd.xyz.tar', 'dsgdb9nsd.tar.gz'])
def test_other_packings_and_members_of_macos(tmp_path, name):
  mode = 'w:gz' if name.endswith('gz') else 'w'
  with tarfile.open(tmp_path / name, mode) as members:
    for member, text in (
      ('._dsgdb9nsd_000001.xyz', b'\0\5\26\7'),
      ('x/dsgdb9nsd_000001.xyz', record_text(1, 'C').encode()),
      ('__MACOSX/x/._dsgdb9nsd_000001.xyz', b'\0\5\26\7'),
    ):
      info = tarfile.TarInfo(member)
      info.size = len(text)
      members.addfile(info, io.BytesIO(text))
  assert archive.find(tmp_path) == tmp_path / name
  (record,) = archive.read(tmp_path / name)
  assert record.index == 1
  (tmp_path / 'dsgdb9nsd.xyz.tar.bz2').write_bytes(b'')
  with pytest.raises(ValueError, match='several archives'):
    archive.find(tmp_path)


def test_records_that_are_there_twice_or_cannot_be_seen(tmp_path, unreadable):
  for folder in ('a', 'b'):
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / 'dsgdb9nsd_000001.xyz'
    path.write_text(record_text(1, 'C'))
  with pytest.raises(ValueError, match=r'dsgdb9nsd_000001\.xyz twice'):
    archive.read(tmp_path)
  unreadable(tmp_path / 'b')
  with pytest.raises(ValueError, match=r'b cannot be read \(Permission denied'):
    archive.read(tmp_path)
  assert len(archive.read(tmp_path / 'a')) == 1


def test_second_build_opens_the_first(manual, tmp_path, monkeypatch):
  first = data_builders.build('qm9', tmp_path / 'data', manual, workers=1)

  def refuse(*args):
    raise AssertionError('was built again')

  monkeypatch.setattr(records, 'examples', refuse)
  again = data_builders.build('qm9', tmp_path / 'data')
  assert data_builders.fingerprint(again) == data_builders.fingerprint(first)
  assert len(again.as_data_source(split='all')) == len(SHAPES)


def test_an_old_dataset_does_not_stand_for_new_files(manual, tmp_path):
  data = tmp_path / 'data'
  archive = manual / 'dsgdb9nsd.xyz.tar.bz2'
  whole = archive.read_bytes()
  first = data_builders.build('qm9', data, manual, workers=1)
  fingerprint = data_builders.fingerprint(first)
  # Neither an untouched nor an empty manual directory is a difference.
  for same in (manual, tmp_path / 'nowhere'):
    again = data_builders.build('qm9', data, same)
    assert data_builders.fingerprint(again) == fingerprint
  write_archive(archive, {1: record_text(1, 'C')})
  with pytest.raises(ValueError, match=r'sha256') as caught:
    data_builders.build('qm9', data, manual)
  assert str(first.data_dir) in str(caught.value)
  assert str(archive) in str(caught.value)
  archive.write_bytes(whole)
  ids = list(range(3, 3 + 43 * 3054, 43))
  (manual / 'uncharacterized.txt').write_text(uncharacterized_text(ids))
  with pytest.raises(ValueError, match=r'lists 3054 molecules, not 0'):
    data_builders.build('qm9', data, manual)
  # The advice leads out of it.
  shutil.rmtree(first.data_dir)
  built = data_builders.build('qm9', data, manual, workers=1)
  assert data_builders.report(built)['uncharacterized'] == ids
  others = uncharacterized_text([i + 1 for i in ids])
  (manual / 'uncharacterized.txt').write_text(others)
  with pytest.raises(ValueError, match=r'3054 molecules, others'):
    data_builders.build('qm9', data, manual)
  (manual / 'uncharacterized.txt').unlink()
  with pytest.raises(ValueError, match=r'lists 0 molecules, not 3054'):
    data_builders.build('qm9', data, manual)


def test_a_report_that_names_no_sources_still_opens(manual, tmp_path):
  data = tmp_path / 'data'
  builder = data_builders.build('qm9', data, manual, workers=1)
  path = pathlib.Path(builder.data_dir) / records.REPORT
  facts = data_builders.report(builder)
  del facts['archive_sha256'], facts['uncharacterized']
  path.write_text(json.dumps(facts))
  write_archive(manual / 'dsgdb9nsd.xyz.tar.bz2', {1: record_text(1, 'C')})
  again = data_builders.build('qm9', data, manual)
  assert len(again.as_data_source(split='all')) == len(SHAPES)


def test_more_records_than_tfds_keeps_in_memory(manual, tmp_path, monkeypatch):
  """It would write the others by TensorFlow."""
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1000)
  built = data_builders.build('qm9', tmp_path / 'one', manual, workers=1)
  assert len(built.as_data_source(split='all')) == len(SHAPES)
  assert shuffle.MAX_MEM_BUFFER_SIZE == 1000
  monkeypatch.setattr(builder, '_own_bars_and_memory', contextlib.nullcontext)
  with pytest.raises(ModuleNotFoundError, match='tensorflow'):
    data_builders.build('qm9', tmp_path / 'two', manual, workers=1)


def test_fingerprint_follows_the_contents(manual, tmp_path):
  one = data_builders.build('qm9', tmp_path / 'one', manual, workers=1)
  same = data_builders.build('qm9', tmp_path / 'same', manual, workers=1)
  assert data_builders.fingerprint(one) == data_builders.fingerprint(same)
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  texts[2] = texts[2].replace('0.810000', '0.810001', 1)
  write_archive(manual / 'dsgdb9nsd.xyz.tar.bz2', texts)
  other = data_builders.build('qm9', tmp_path / 'other', manual, workers=1)
  assert data_builders.fingerprint(one) != data_builders.fingerprint(other)


def test_drops_uncharacterized_and_reports_failures(manual, tmp_path, capsys):
  texts = {i: record_text(i, s) for i, s in enumerate(SHAPES, start=1)}
  radical = record_text(6, 'O').splitlines()
  del radical[3]  # one hydrogen less: an odd number of electrons
  texts[6] = '\n'.join(['2', *radical[1:]]) + '\n'
  write_archive(manual / 'dsgdb9nsd.xyz.tar.bz2', texts)
  ids = list(range(3, 3 + 43 * 3054, 43))
  (manual / 'uncharacterized.txt').write_text(uncharacterized_text(ids))
  builder = data_builders.build('qm9', tmp_path / 'data', manual, workers=1)
  kept = [row['index'] for row in builder.as_data_source(split='all')]
  assert kept == [1, 2, 4, 5]
  report = data_builders.report(builder)
  assert report['in_archive'] == 6
  assert report['uncharacterized'] == ids
  assert report['uncharacterized_dropped'] == 1
  assert (report['written'], report['failed']) == (4, 1)
  (failure,) = report['failures']
  assert failure['id'] == 'gdb_000006'
  assert 'odd number of electrons' in failure['reason']
  assert '4 of 5 molecules, 1 failed' in capsys.readouterr().out


def test_missing_files_say_what_to_put_where(tmp_path, monkeypatch):
  def offline(url, timeout):
    raise urllib.error.URLError('no route')

  monkeypatch.setattr(urllib.request, 'urlopen', offline)
  empty = tmp_path / 'manual'
  empty.mkdir()
  (empty / 'qm9.npz').write_bytes(b'')
  with pytest.raises(FileNotFoundError) as caught:
    data_builders.build('qm9', tmp_path / 'data', empty)
  message = str(caught.value)
  for part in (
    'dsgdb9nsd.xyz.tar.bz2',
    'figshare.com',
    str(empty),
    'no route',
    'such as qm9.npz',
  ):
    assert part in message
  assert not list((tmp_path / 'data').glob('edjax_qm9/*/*'))


def test_downloads_are_checked(tmp_path):
  """With file: addresses, so that no network is needed."""
  served = tmp_path / 'served'
  served.write_bytes(b'made up')
  url = served.as_uri()
  right = hashlib.sha256(b'made up').hexdigest()
  path = download.fetch(url, tmp_path / 'new' / 'file', right)
  assert path.read_bytes() == b'made up'
  served.write_bytes(b'')  # what figshare answers to scripts
  assert download.fetch(url, path, right) == path  # kept, not fetched again
  other = tmp_path / 'new' / 'other'
  with pytest.raises(ValueError, match='gave 0 bytes'):
    download.fetch(url, other, right)
  assert [p.name for p in other.parent.iterdir()] == ['file']


def test_damaged_archives_raise_and_leave_nothing(manual, tmp_path):
  path = manual / 'dsgdb9nsd.xyz.tar.bz2'
  whole = path.read_bytes()
  good = {1: record_text(1, 'C')}
  for damage, message in (
    (lambda: path.write_bytes(whole[: len(whole) // 2]), 'cut short'),
    (lambda: path.write_bytes(b'<html>'), 'damaged'),
    (
      lambda: write_archive(path, {**good, 2: record_text(3, 'O')}),
      'dsgdb9nsd_000002.xyz, line 2: holds molecule 3',
    ),
    (
      lambda: write_archive(path, {**good, 2: record_text(2, 'O')[:-60]}),
      'dsgdb9nsd_000002.xyz, line 1: 3 atoms',
    ),
    (lambda: write_archive(path, {}), 'holds no'),
  ):
    damage()
    with pytest.raises(ValueError, match=message):
      data_builders.build('qm9', tmp_path / 'data', manual, workers=1)
    assert not list((tmp_path / 'data' / 'edjax_qm9').glob('1.1.0/*'))


def test_a_killed_build_leaves_nothing_to_open(manual, tmp_path):
  script = (
    'import os, data_builders\n'
    'from data_builders.molecules import records\n'
    'whole = records.Tally.add\n'
    'def kill(tally, record, outcome):\n'
    '  if record.index == 4:\n'
    '    os.kill(os.getpid(), 9)\n'
    '  whole(tally, record, outcome)\n'
    'records.Tally.add = kill\n'
    f'data_builders.build("qm9", {str(tmp_path / "data")!r}, '
    f'{str(manual)!r}, workers=1)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, check=False
  )
  assert done.returncode == -9, done.stderr
  left = list((tmp_path / 'data' / 'edjax_qm9').iterdir())
  assert [path.name.split('.')[0] for path in left] == ['incomplete']
  builder = data_builders.build('qm9', tmp_path / 'data', manual, workers=1)
  assert len(builder.as_data_source(split='all')) == len(SHAPES)
  left = [path.name for path in (tmp_path / 'data' / 'edjax_qm9').iterdir()]
  assert left == ['1.1.0']


def test_a_second_process_waits_and_opens(manual, tmp_path):
  """Two at once: one builds, both read the same, no work is done twice."""
  script = (
    'import sys, types\n'
    'from edjax.data import loading\n'
    'from data_builders.molecules import records\n'
    'whole = records.examples\n'
    'def slow(*args):\n'
    '  print("builds", flush=True)\n'
    '  sys.stdin.read()\n'
    '  return whole(*args)\n'
    'records.examples = slow\n'
    'data = types.SimpleNamespace(name="qm9", workers=1, download=False, '
    f'data_dir={str(tmp_path / "data")!r}, manual_dir={str(manual)!r})\n'
    'print(len(loading.load_pack(data)), "molecules")\n'
  )

  def start():
    pipe = subprocess.PIPE
    command = [sys.executable, '-c', script]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

  with start() as one:
    assert 'builds\n' in iter(one.stdout.readline, '')
    with start() as two:
      begin = 'waiting for another process that makes dataset qm9'
      assert two.stdout.readline().startswith(begin)
      one.stdin.close()
      assert one.stdout.read().endswith('5 molecules\n')
      two.stdin.close()
      printed = two.stdout.read()
  assert printed.endswith('5 molecules\n')
  assert 'builds' not in printed
  assert (one.returncode, two.returncode) == (0, 0)


def test_locks_exclude_and_end_with_their_holder(tmp_path, capsys):
  path = tmp_path / '.x.lock'
  script = (
    'import sys\n'
    'from edjax.runtime import locks\n'
    f'with locks.locked({str(path)!r}, "x") as held:\n'
    '  print(held, flush=True)\n'
    '  sys.stdin.read()\n'
  )
  holder = subprocess.Popen(
    [sys.executable, '-c', script],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
  )  # fmt: skip
  with holder:
    assert holder.stdout.readline() == 'True\n'
    entered = threading.Event()

    def enter():
      with locks.locked(path, 'x') as held:
        assert held
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.3)
    holder.kill()
    assert entered.wait(10)
    thread.join()
  assert capsys.readouterr().out.startswith('waiting for another process')


def test_without_locks_it_goes_on(tmp_path, monkeypatch):
  with locks.locked(tmp_path / 'nowhere' / '.x.lock', 'x') as held:
    assert not held
  monkeypatch.setitem(sys.modules, 'fcntl', None)  # as on Windows
  with locks.locked(tmp_path / '.x.lock', 'x') as held:
    assert not held


def test_unknown_dataset_raises(tmp_path):
  with pytest.raises(ValueError, match='qm9, qm9_mini'):
    data_builders.build('qm8', tmp_path)


def test_all_failures_raise(tmp_path):
  radical = records.Record(
    'x_1', 1, np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 1.0]]), '', {}
  )
  with pytest.raises(xtb.XtbError, match='all 1 molecules'):
    list(records.examples([radical], tmp_path, {}, workers=1))
  with pytest.raises(ValueError, match='2 records, but 1'):
    list(records.examples([radical] * 2, tmp_path, {}, workers=1))
