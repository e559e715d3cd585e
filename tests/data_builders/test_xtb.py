"""xTB against golden results, PySCF's integrals and physics."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import gfn2_pyscf

from data_builders import xtb
from data_builders.molecules import records
from data_builders.support import worker_pool
from edjax import geometry
from edjax.chem import gfn2_basis, units
from edjax.molecule import Molecule

# tblite is loaded by the first calculation; two threads for 5 ms of work wait
# for each other on a busy machine.
os.environ.setdefault('OMP_NUM_THREADS', '1')

WATER = (
  np.array([8, 1, 1]),
  np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]]),
)
_CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])
ATOM = [[0, 0, 0]]
H2 = [[0, 0, 0], [0, 0, 0.74]]
METHANE = (
  np.array([6, 1, 1, 1, 1]),
  np.concatenate([np.zeros((1, 3)), 0.63 * _CORNERS]),
)


@pytest.fixture(scope='module')
def golden(shared_data):
  with np.load(shared_data / 'xtb' / 'golden_gfn2.npz') as file:
    data = dict(file)
  count = len(data['smiles'])
  return [
    {
      key: data[f'{i:02d}/{key}']
      for key in (
        'charges', 'coords', 'energy', 'n_valence', 'density_matrix',
        'orbital_energies', 'orbital_occupations',
      )
    }
    for i in range(count)
  ]  # fmt: skip


@pytest.fixture(scope='module')
def results(golden):
  return [xtb.run(g['charges'], g['coords']) for g in golden]


def density_matrix(orbitals_OL9):
  flat_OK = orbitals_OL9.reshape(len(orbitals_OL9), -1)
  return flat_OK.T @ flat_OK


def test_golden_molecules(golden, results):
  assert len(golden) == 19
  assert {16, 17, 35, 15} <= {z for g in golden for z in g['charges'].tolist()}
  for g, result in zip(golden, results, strict=True):
    assert abs(result.energy - g['energy']) < 1e-8
    assert abs(result.n_electrons - g['n_valence']) < 1e-6
    # The orbital energies on either side of half filling.
    holds = g['orbital_occupations'] >= 1
    levels = g['orbital_energies']
    gap = (levels[~holds].min() - levels[holds].max()) * units.HARTREE_EV
    assert result.gap == pytest.approx(gap, abs=1e-5)
    np.testing.assert_allclose(
      result.orbital_energies, levels * units.HARTREE_EV, atol=1e-5
    )
    assert result.n_filled == holds.sum()
    assert result.orbitals.dtype == np.float32
    # The slot of each of tblite's functions.
    ones_KL9 = gfn2_basis.to_slots(
      g['charges'], np.eye(len(g['density_matrix']))
    )
    c_KO = np.einsum('kls,ols->ko', ones_KL9, result.orbitals)
    error = np.abs(c_KO @ c_KO.T - g['density_matrix']).max()
    # float32 rounding of coefficients around 1.
    assert error < 1e-6 * np.abs(g['density_matrix']).max()


def test_records_hold_the_energies_around_the_gap(results):
  for result in results:
    levels = records.levels(result.orbital_energies, result.n_filled)
    assert levels.shape == (12,)
    assert levels[6] - levels[5] == result.gap
    known = levels[np.isfinite(levels)]
    assert (np.diff(known) >= 0).all()
    assert set(known) <= set(result.orbital_energies)
  # Hydrogen has two orbitals, one of each kind.
  hydrogen = xtb.run([1, 1], H2)
  levels = records.levels(hydrogen.orbital_energies, hydrogen.n_filled)
  np.testing.assert_array_equal(levels[5:7], hydrogen.orbital_energies)
  assert np.isnan(levels).sum() == 10
  # All are filled.
  assert np.isnan(records.levels(np.arange(3.0), 3)[6:]).all()


def test_fractional_occupations_are_kept(golden, results):
  """Near-degenerate orbitals at 300 K hold fractions of electrons."""
  fractions = [
    o
    for g in golden
    for o in g['orbital_occupations'].tolist()
    if xtb.MIN_OCCUPATION < o < 1.99
  ]
  assert fractions, 'the reference holds no such molecule'
  for g, result in zip(golden, results, strict=True):
    kept = (g['orbital_occupations'] > xtb.MIN_OCCUPATION).sum()
    assert len(result.orbitals) == kept


def test_dipole_equals_pyscf_integrals(golden):
  """The dipole is that of the stored density and the valence charges."""
  pytest.importorskip('pyscf.gto')
  for i in (4, 16):  # without and with d functions
    numbers, coords = golden[i]['charges'], golden[i]['coords']
    result = xtb.run(numbers, coords)
    c_OK = gfn2_pyscf.coefficients(numbers, result.orbitals)
    r_3KK = gfn2_pyscf.molecule(numbers, coords).intor('int1e_r')
    charge_A = _valence_charges(numbers)
    dipole = charge_A @ coords / units.BOHR_A - np.einsum(
      'oi,xij,oj->x', c_OK, r_3KK, c_OK
    )
    np.testing.assert_allclose(
      result.dipole, dipole * units.AU_DIPOLE_D, atol=2e-4
    )
    assert np.linalg.norm(result.dipole) > 0.5  # neither is zero


def _valence_charges(numbers):
  core = {1: 0, 6: 2, 7: 2, 8: 2, 9: 2, 15: 10, 16: 10, 17: 10, 35: 28}
  return np.array([z - core[z] for z in numbers.tolist()], float)


def test_dipole_direction_and_symmetry():
  dipole = xtb.run(*WATER).dipole
  # From the negative oxygen to the positive hydrogens, along their bisector.
  assert 1.5 < dipole[1] < 2.5
  assert abs(dipole[0]) < 1e-6
  assert np.abs(xtb.run(*METHANE).dipole).max() < 1e-6


def test_dipole_of_an_ion_refers_to_the_origin():
  """It moves with the charge: e * 1 Å is 4.8032 D."""
  numbers, coords = WATER
  ion = {'total_charge': 1, 'unpaired': 1}
  here = xtb.run(numbers, coords, **ion)
  there = xtb.run(numbers, coords + np.array([0, 0, 1.0]), **ion)
  np.testing.assert_allclose(
    there.dipole - here.dipole, [0, 0, 4.80320], atol=1e-4
  )
  assert there.energy == pytest.approx(here.energy, abs=1e-9)


def test_charge_and_unpaired_electrons():
  neutral = xtb.run(*WATER)
  cation = xtb.run(*WATER, total_charge=1, unpaired=1)
  assert neutral.n_electrons == pytest.approx(8)
  assert cation.n_electrons == pytest.approx(7)
  assert cation.energy > neutral.energy
  radical = xtb.run([8, 1], [[0, 0, 0], [0, 0, 0.97]], unpaired=1)
  assert radical.n_electrons == pytest.approx(7)


def test_full_and_empty_shells_at_the_limit():
  """What is just possible stays so: a gap is there or NaN."""
  hydride = xtb.run([1], ATOM, total_charge=-1)
  triplet = xtb.run([1, 1], H2, unpaired=2)
  for full in (hydride, triplet):
    assert full.n_electrons == pytest.approx(2)
    assert np.isnan(full.gap)
  lithium = xtb.run([3], ATOM, unpaired=1)
  assert lithium.n_electrons == pytest.approx(1)
  assert lithium.gap > 0


@pytest.mark.parametrize(
  ('numbers', 'coords', 'kwargs', 'message'),
  [
    ([8, 1], [[0, 0, 0], [0, 0, 1]], {}, 'odd number of electrons'),
    (*WATER, {'total_charge': 1}, 'odd number of electrons'),
    (*WATER, {'unpaired': 1}, 'even number of electrons'),
    (*WATER, {'total_charge': 0.5}, 'whole'),
    (*WATER, {'unpaired': -2}, 'negative'),
    (*WATER, {'total_charge': 10}, 'H2O .* no valence electron'),
    ([1], ATOM, {'unpaired': 3}, r'unpaired=3 is more .*\(1\)'),
    ([1, 1], H2, {'unpaired': 4}, r'unpaired=4 is more .*\(2\)'),
    ([8], ATOM, {'unpaired': 8}, 'unpaired=8 is more'),
    ([8], ATOM, {'unpaired': 6}, r'do not fit into .*\(4\)'),
    ([1], ATOM, {'total_charge': -3}, r'do not fit into .*\(1\)'),
    ([3], ATOM, {'total_charge': 1}, 'Li .* no valence electron'),
    ([11], ATOM, {'total_charge': 1}, 'Na .* no valence electron'),
    ([8, 1, 1], [[0, 0, 0], [0, 0, np.nan], [1, 0, 0]], {}, 'atom 1'),
    ([8, 1, 1], [[0, 0, 0], [0, 0, 0.01], [1, 0, 0]], {}, 'atoms 0 and 1'),
    ([8, 1, 1], [[0, 0, 0], [0, 0, 1]], {}, r'\[3, 3\]'),
    ([92, 1, 1], WATER[1], {}, '1 to 86'),
  ],
)
def test_bad_input_raises(numbers, coords, kwargs, message):
  with pytest.raises(ValueError, match=message):
    xtb.run(numbers, coords, **kwargs)


def test_other_orbital_order_raises(monkeypatch):
  """What a tblite release with another order would look like."""
  right = gfn2_basis.overlap
  order = [0, 2, 3, 1, 4, 5]  # p as z, x, y instead of y, z, x

  def shuffled(numbers, coords):
    return right(numbers, coords)[np.ix_(order, order)]

  monkeypatch.setattr(gfn2_basis, 'overlap', shuffled)
  with pytest.raises(xtb.XtbError, match=r'H2O .*tblite 0\.8.*overlaps'):
    xtb.run(*WATER)


def test_unconverged_field_raises(monkeypatch):
  from tblite import interface

  class Hasty(interface.Calculator):
    def singlepoint(self, *args, **kwargs):
      self.set('max-iter', 2)
      return super().singlepoint(*args, **kwargs)

  monkeypatch.setattr(interface, 'Calculator', Hasty)
  with pytest.raises(xtb.XtbError, match='H2O'):
    xtb.run(*WATER)


def test_orbitals_turn_like_the_molecule(golden):
  for i in (5, 16):  # without and with d functions
    numbers, coords = golden[i]['charges'], golden[i]['coords']
    rotation = geometry.random_rotation(jax.random.key(i))
    turned = xtb.run(numbers, coords @ np.asarray(rotation, float).T)
    before = xtb.run(numbers, coords)
    mol = Molecule.from_arrays(numbers, coords, before.orbitals)
    after = _rotated(mol, rotation)
    expected = density_matrix(turned.orbitals)
    scale = np.abs(expected).max()
    # The field converges to about 1e-5 in the density matrix.
    error = np.abs(density_matrix(after) - expected).max()
    assert error < 1e-4 * scale
    # Negative control: not turned, or turned back, it is another molecule.
    for wrong in (before.orbitals, _rotated(mol, rotation.T)):
      assert np.abs(density_matrix(wrong) - expected).max() > 0.05 * scale


def _rotated(mol, rotation):
  return np.asarray(jax.jit(geometry.rotate)(mol, rotation).orbitals_OL9)


def test_nothing_is_printed():
  """Neither while running nor when the interpreter exits."""
  script = (
    'from data_builders import xtb\n'
    'kept = xtb.run([8, 1, 1], [[0, 0, 0], [0, 0, 1], [1, 0, 0]])\n'
    'try:\n'
    '  xtb.run([8, 1], [[0, 0, 0], [0, 0, 1]])\n'
    'except ValueError as error:\n'
    '  kept_too = error\n'
    "assert 'jax' not in __import__('sys').modules\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', script], capture_output=True, check=False
  )
  assert (done.returncode, done.stdout, done.stderr) == (0, b'', b'')


def test_many_keeps_order_and_reports_failures():
  odd = ([8, 1], [[0, 0, 0], [0, 0, 1]])
  molecules = [WATER, METHANE, odd, (*WATER, 1, 1), METHANE]
  results = list(xtb.run_many(molecules, workers=1, chunk=2))
  assert isinstance(results[2], worker_pool.Failure)
  assert results[2].index == 2
  assert 'odd number of electrons' in results[2].reason
  for i in (0, 1, 3, 4):
    alone = xtb.run(*molecules[i])
    assert results[i].energy == pytest.approx(alone.energy, abs=1e-9)
    assert results[i].orbitals.shape == alone.orbitals.shape


def evaluate(texts, **kwargs):
  items = [(text,) for text in texts]
  return list(worker_pool.map_ordered('builtins:eval', items, **kwargs))


KILL = "__import__('os').kill(__import__('os').getpid(), 9)"


def test_a_worker_that_dies_costs_one_item(tmp_path):
  """Alone in its process each time: the others of its chunk survive."""
  once = (
    f"{KILL} if not __import__('os').path.exists({str(tmp_path / 'x')!r}) "
    f"and open({str(tmp_path / 'x')!r}, 'w') else 'again'"
  )
  texts = ['0', '1', KILL, '3', 'no_such_name', once, '6', '7']
  values = evaluate(texts, workers=2, chunk=4)
  assert [values[i] for i in (0, 1, 3, 5, 6, 7)] == [0, 1, 3, 'again', 6, 7]
  assert values[2] == worker_pool.Failure(
    2, 'the worker process died (exit status -9)'
  )
  assert values[4].index == 4
  assert 'NameError' in values[4].reason


def test_workers_are_light_and_unmoved_by_prints():
  light = (
    "__import__('importlib').import_module('data_builders.xtb') and "
    "[m for m in ('jax', 'tensorflow_datasets') "
    "if m in __import__('sys').modules]"
  )
  values = evaluate(
    [
      "print('noise')",
      "__import__('os').write(1, b'noise')",
      "__import__('os').environ['OMP_NUM_THREADS']",
      light,
    ],
    workers=1,
  )
  assert values == [None, 5, '1', []]


def test_abandoned_workers_end():
  import psutil

  before = set(psutil.Process().children())
  values = worker_pool.map_ordered('builtins:eval', [('1',)] * 50, 1, 2)
  assert next(values) == 1
  assert set(psutil.Process().children()) - before
  values.close()
  assert not set(psutil.Process().children()) - before


def test_unusable_arguments_raise():
  with pytest.raises(RuntimeError, match='did not start'):
    list(worker_pool.map_ordered('no_such_module:f', [(1,)], 1))
  with pytest.raises(ValueError, match='at least 1'):
    evaluate(['1'], workers=0)
  assert evaluate([], workers=1) == []


def test_scripts_need_no_main_guard(tmp_path):
  """The workers do not import the main module."""
  script = tmp_path / 'script.py'
  script.write_text(
    "print('started')\n"
    'from data_builders import xtb\n'
    'water = ([8, 1, 1], [[0, 0, 0], [0, 0, 1], [1, 0, 0]])\n'
    'print(len(list(xtb.run_many([water] * 3, workers=1))))\n'
  )
  path = os.pathsep.join([os.getcwd(), os.environ.get('PYTHONPATH', '')])
  done = subprocess.run(
    [sys.executable, script],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ | {'PYTHONPATH': path},
  )
  assert (done.stdout, done.stderr) == ('started\n3\n', '')
