"""qm9_mini: drawing, geometry, labels, and the embedded records."""

import collections
import copy
import gzip
import json
import os
import sys

# A molecule this small is slower on several threads, and far slower on busy
# cores. Read when tblite and pyscf load, which is inside the tests.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pytest
from rdkit import Chem

from data_builders.molecules import geometries
from data_builders.qm9_mini.reference import dft, draw_smiles, generate
from data_builders.support import worker_pool
from edjax.chem import units

# Few growths: the rules do not depend on how many.
TRIALS = {1: 50, 2: 200, 3: 400, 4: 600, 5: 800, 6: 800}
VALENCE = {'C': 4, 'N': 3, 'O': 2, 'F': 1}

WATER_NUMBERS = np.array([8, 1, 1])
WATER_A3 = (
  np.array([[0.0, 0.0, 0.12], [0.0, 0.80, -0.48], [0.0, -0.80, -0.48]])
  / units.BOHR_A
)


@pytest.fixture(scope='module')
def records():
  return generate.read_records(generate.EMBEDDED)


def test_draw_is_a_function_of_its_arguments():
  first = draw_smiles.draw_smiles(100, 3, trials=TRIALS)
  assert first == draw_smiles.draw_smiles(100, 3, trials=TRIALS)
  assert first != draw_smiles.draw_smiles(100, 4, trials=TRIALS)
  assert len(set(first)) == 100
  rest = draw_smiles.draw_smiles(100, 3, exclude=first, trials=TRIALS)
  assert not set(rest) & set(first)


def test_draw_obeys_valence_and_size():
  sizes = collections.Counter()
  for smiles in draw_smiles.draw_smiles(200, 0, trials=TRIALS):
    assert draw_smiles.rejection(smiles) == ''
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    heavy = [a for a in mol.GetAtoms() if a.GetSymbol() != 'H']
    for a in heavy:
      order = sum(b.GetBondTypeAsDouble() for b in a.GetBonds())
      assert order == VALENCE[a.GetSymbol()], smiles
    assert mol.GetNumBonds() - mol.GetNumAtoms() in (-1, 0), smiles
    sizes[len(heavy)] += 1
  assert set(sizes) <= set(range(1, 7))
  # Half of what SIZE_SHARE says for the largest, at least.
  assert sizes[6] > 42
  assert sizes[5] > 37


def test_draw_of_more_than_there_are():
  with pytest.raises(ValueError, match='of 9999 molecules are left'):
    draw_smiles.draw_smiles(9999, 0, trials=TRIALS)


@pytest.mark.parametrize(
  ('smiles', 'reason'),
  [
    ('COO', 'O-O'),
    ('OF', 'O-F'),
    ('NF', 'N-F'),
    ('FF', 'F-F'),
    ('NNN', 'chain of three N'),
    ('ONO', 'N between two O'),
    ('CC(O)O', 'geminal diol'),
    ('NC(N)O', 'carbinol amine with two N and O'),
    ('C=C=C=C', 'three double bonds in a row'),
    ('C1CC=C=CC1', 'cumulated double bonds in a ring'),
    ('C1#CCCCC1', 'triple bond in a ring'),
    ('C1=CC=C1', 'antiaromatic 4-ring'),
    ('C1=CO1', 'antiaromatic 3-ring'),
    ('C1=CNN1', '4-ring of one double bond and two donors'),
    ('C1CC2CC12', 'more than one ring'),
    ('C1CCCCCC1', 'ring of more than 6'),
    ('C.C', 'more than one molecule'),
    ('C[N+](C)(C)C', 'charge or radical'),
    ('C[CH2]', 'charge or radical'),
    ('CS', 'element'),
    # Close to the ones above, and fine.
    ('COC', ''),
    ('NN', ''),
    ('OCCO', ''),
    ('C=C=C', ''),
    ('C1CCCCC1', ''),
    ('c1ccccc1', ''),
    ('C1=CC1', ''),
  ],
)
def test_rejection(smiles, reason):
  assert draw_smiles.rejection(smiles) == reason


def test_every_unstable_pattern_is_tested():
  mark = test_rejection.pytestmark[0]
  assert set(draw_smiles.UNSTABLE) <= {reason for _, reason in mark.args[1]}


def test_relax_reaches_the_tolerance():
  """The gradient is judged by central differences of the energy."""
  interface = pytest.importorskip('tblite.interface')

  def energy(coords_A3):
    calculator = interface.Calculator('GFN2-xTB', WATER_NUMBERS, coords_A3)
    calculator.set('verbosity', 0)
    calculator.set('accuracy', 0.01)
    return calculator.singlepoint().get('energy')

  def largest_component(coords_A3, step=1e-3):
    gradient = []
    for i in range(9):
      shift = np.zeros(9)
      shift[i] = step
      shift = shift.reshape(3, 3)
      up, down = energy(coords_A3 + shift), energy(coords_A3 - shift)
      gradient.append((up - down) / (2 * step))
    return np.abs(gradient).max()

  relaxed_A3, reported = geometries.minimum(
    WATER_NUMBERS, WATER_A3, restart=False
  )
  assert largest_component(WATER_A3) > 5e-3  # the start was no minimum
  assert reported <= 5e-4
  # Finite differences: third derivatives of about 1 Ha/bohr^3 times step^2/6.
  assert largest_component(relaxed_A3) <= 5e-4 + 1e-6
  tight_A3, _ = geometries.minimum(WATER_NUMBERS, WATER_A3, tolerance=1e-5)
  assert largest_component(tight_A3) <= 1e-5 + 1e-6
  # C2v, and the O-H of GFN2-xTB: 0.96 Å to 1 %.
  lengths = np.linalg.norm(tight_A3[1:] - tight_A3[0], axis=1) * units.BOHR_A
  np.testing.assert_allclose(lengths, 0.96, rtol=0.01)
  np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-4)


def test_bonds_from_distances():
  assert geometries.bonds_from_distances(WATER_NUMBERS, WATER_A3) == {
    (0, 1),
    (0, 2),
  }
  far_A3 = WATER_A3 + np.array([[0, 0, 0], [0, 0, 0], [0, 0, -2.0]])
  assert geometries.bonds_from_distances(WATER_NUMBERS, far_A3) == {(0, 1)}


def test_a_molecule_that_rearranges_is_refused(monkeypatch):
  def swap(numbers, coords_A3, restart):
    return coords_A3[np.r_[-1, 1 : len(numbers) - 1, 0]], 0.0

  monkeypatch.setattr(geometries, 'minimum', swap)
  with pytest.raises(RuntimeError, match='bonds changed'):
    generate.make_record('CO')


def test_label_repeats_the_embedded_one(records):
  """And does not depend on orientation; and a stretched molecule differs."""
  pytest.importorskip('pyscf', reason='labels need the extra `reference`')
  record = next(r for r in records if r['smiles'] == 'C=N')
  coords_A3 = np.array(record['coords']) / units.BOHR_A
  rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
  again = dft.label(record['numbers'], coords_A3 @ rotation + 0.3)
  found = generate.differences(record, again)
  # The grid is no rotation's fixed point: TOLERANCE holds all the same.
  assert all(found[k] <= generate.TOLERANCE[k] for k in found), found
  stretched = dft.label(record['numbers'], coords_A3 * 1.005)
  found = generate.differences(record, stretched)
  assert all(found[k] > generate.TOLERANCE[k] for k in found), found


# Gaussian's two d of 6-31G(2df,p): the 0.8 of 6-31G(d), doubled and halved.
GAUSSIAN_D = ([2, [1.6, 1.0]], [2, [0.4, 1.0]], [3, [1.4, 1.0]])


def test_labels_are_close_to_another_program():
  """Water at QM9's geometry, where Gaussian 09 gave the numbers below.

  Record gdb_3 of Ramakrishnan et al., Sci. Data 1, 140022 (2014). With
  Gaussian's exponents the orbitals and the dipole are QM9's (0.1 and 0.3 %);
  what is left is that Gaussian takes 6 Cartesian d: 3 mHa, 1 % of the gap.
  PySCF's exponents cost 7 % of the dipole.
  """
  pyscf = pytest.importorskip(
    'pyscf.gto', reason='labels need the extra `reference`'
  )
  coords_A3 = np.array(
    [
      [-0.0343604951, 0.9775395708, 0.0076015923],
      [0.0647664923, 0.0205721989, 0.0015346341],
      [0.8717903737, 1.3007924048, 0.0006931336],
    ]
  )
  coords_A3 /= units.BOHR_A
  # U0 of QM9 holds the zero-point energy.
  energy = -76.404702 - 0.021375
  load = pyscf.basis.load
  gaussian = {
    'O': [*load('6-31g', 'O'), *GAUSSIAN_D],
    'H': load('6-31g(d,p)', 'H'),
  }
  found = dft.label(WATER_NUMBERS, coords_A3, gaussian)
  assert found['energy'] == pytest.approx(energy, abs=4e-3)
  assert found['mu'] == pytest.approx(1.8511, rel=0.003)
  assert found['homo'] == pytest.approx(-0.2928, rel=0.001)
  assert found['gap'] == pytest.approx(0.3615, rel=0.01)
  assert found['r2'] == pytest.approx(19.0002, rel=0.005)
  found = dft.label(WATER_NUMBERS, coords_A3)
  assert found['energy'] == pytest.approx(energy, abs=6e-3)
  assert 0.05 < found['mu'] / 1.8511 - 1 < 0.09
  assert found['homo'] == pytest.approx(-0.2928, rel=0.005)
  assert found['gap'] == pytest.approx(0.3615, rel=0.01)
  assert found['r2'] == pytest.approx(19.0002, rel=0.005)


def test_generate_writes_lists_failures_and_resumes(tmp_path):
  pytest.importorskip('pyscf', reason='labels need the extra `reference`')
  out = tmp_path / 'new.jsonl'
  todo = ['C', 'C1#CC1']
  assert generate.generate(todo, out, workers=1) == (1, 1)
  (record,) = generate.read_records(out)
  assert tuple(record) == generate.FIELDS
  generate.check_records([record])
  failed = generate.read_records(tmp_path / 'new.jsonl.failed')
  assert [f['smiles'] for f in failed] == ['C1#CC1']
  assert failed[0]['reason'] == 'RuntimeError: ETKDG found no conformer'
  # As a kill in the middle of a line leaves it.
  before = out.read_text()
  out.write_text(before + '{"smiles": "C')
  assert generate.generate(todo, out, workers=1) == (0, 0)
  assert out.read_text() == before


def test_without_pyscf_no_molecule_is_marked_as_failed(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'pyscf', None)
  out = tmp_path / 'new.jsonl'
  with pytest.raises(ModuleNotFoundError, match=r'edjax\[reference\]'):
    generate.generate(['C'], out, workers=1)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('fault', 'reason'),
  [
    ("__import__('nothing')", 'ModuleNotFoundError'),
    ('bytearray(2**62)', 'MemoryError'),
    ("__import__('os').kill(__import__('os').getpid(), 9)", 'process died'),
  ],
)
def test_a_fault_of_the_machine_ends_the_work(
  tmp_path, monkeypatch, fault, reason
):
  """At once: what was waiting is not computed, and nothing is marked."""
  done, real = tmp_path / 'done', worker_pool.map_ordered
  other = (
    f"__import__('time').sleep(0.02) or open({str(done)!r}, 'a').write('x')"
  )
  monkeypatch.setattr(generate, '_require_pyscf', lambda: None)
  monkeypatch.setattr(
    worker_pool,
    'map_ordered',
    lambda _, *a, **k: real('builtins:eval', *a, **k),
  )
  with pytest.raises(RuntimeError, match=reason):
    generate.generate([fault, *[other] * 200], tmp_path / 'new.jsonl', 1)
  assert not done.exists() or len(done.read_text()) < 100
  assert (tmp_path / 'new.jsonl.failed').read_text() == ''


def test_embedded_records_are_sound(records):
  generate.check_records(records)
  assert len(records) >= 703
  assert tuple(records[0]) == generate.FIELDS
  # Electrons lie on atoms that are centred on their mean: r2 cannot be less
  # than what the nuclei's own charges, put at the nuclei, would give.
  for r in records:
    z, x = np.array(r['numbers'], float), np.array(r['coords']) / units.BOHR_A
    masses = np.array([{1: 1, 6: 12, 7: 14, 8: 16, 9: 19}[i] for i in z])
    x -= masses @ x / masses.sum()
    assert r['r2'] > z @ (x**2).sum(1), r['smiles']


def test_embedded_energies_follow_the_composition(records):
  """One wrong atom energy or unit would stand out by far more than this."""
  residual = generate.composition_residuals(records)
  # Bond kinds and strain: isomers differ by up to some 0.2 Ha.
  assert residual.std() < 0.06
  assert np.abs(residual).max() < 0.35
  spoiled = copy.deepcopy(records)
  spoiled[5]['atomization_energy'] *= 1.5
  assert np.abs(generate.composition_residuals(spoiled)).argmax() == 5


def test_pack_is_the_embedded_file(records, tmp_path):
  path = tmp_path / 'again.jsonl.gz'
  generate.pack(records[::-1], path)
  # Headers, and how well gzip compresses, depend on Python and zlib.
  again, embedded = (
    gzip.decompress(p.read_bytes()) for p in (path, generate.EMBEDDED)
  )
  assert again == embedded


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    ({'gap': 0.4}, 'gap is not lumo - homo'),
    ({'homo': 0.0, 'lumo': 0.01, 'gap': 0.01}, 'gap is below'),
    ({'mu': float('nan')}, 'not finite'),
    ({'mu': -1.0}, 'mu or r2 is below 0'),
    ({'atomization_energy': -9.0}, 'atomization_energy'),
    ({'energy': 0.0, 'atomization_energy': 93.928667}, 'not bound'),
    ({'coords': [[0.0] * 3, [1.2, 0.0, 0.0]]}, 'coords have shape'),
    ({'numbers': [6, 8, 1, 1, 1]}, 'numbers differ'),
    ({'smiles': 'N=C'}, 'not canonical'),
    ({'extra': 1}, 'fields'),
  ],
)
def test_check_records_names_the_fault(records, change, reason):
  record = copy.deepcopy(next(r for r in records if r['smiles'] == 'C=N'))
  generate.check_records([record])
  with pytest.raises(ValueError, match=f'record .*{reason}'):
    generate.check_records([{**record, **change}])


def test_check_records_looks_at_bonds_and_repeats(records):
  record = next(r for r in records if r['smiles'] == 'C=N')
  with pytest.raises(ValueError, match='SMILES occurs twice'):
    generate.check_records([record, record])
  broken = copy.deepcopy(record)
  broken['coords'][3][2] += 2.0
  with pytest.raises(ValueError, match='bonds are not'):
    generate.check_records([broken])


def test_merge_from_the_command_line(records, tmp_path, capsys):
  one = tmp_path / 'one.jsonl'
  one.write_text(''.join(json.dumps(r) + '\n' for r in records[:40]))
  two, out = tmp_path / 'two.jsonl', tmp_path / 'out.jsonl.gz'
  two.write_text(''.join(json.dumps(r) + '\n' for r in records[40:80]))
  arguments = ['--merge', str(one), str(two), '--out', str(out)]
  assert generate.main(arguments) == 0
  assert '80 molecules' in capsys.readouterr().out
  merged = generate.read_records(out)
  assert {r['smiles'] for r in merged} == {r['smiles'] for r in records[:80]}


@pytest.mark.parametrize('arguments', [[], ['--count', '3', '--atoms']])
def test_the_command_line_wants_one_job(arguments, capsys):
  with pytest.raises(SystemExit):
    generate.main(arguments)
  assert 'one of --count' in capsys.readouterr().err
