"""Datasets with other geometries: relaxed ones, and noise."""

import json
import os

import jax
import numpy as np
import pytest
from support import tiny_runs

import data_builders
from configs import qm9_density
from data_builders import xtb
from data_builders.molecules import geometries, records
from data_builders.qm9_mini import qm9_mini_dataset_builder as mini
from edjax import config as configuration
from edjax.chem import units
from edjax.config.representation import dataset_variant, make_voxelizer
from edjax.data import loading, padded
from edjax.molecule import Molecule
from edjax.task import make

os.environ.setdefault('OMP_NUM_THREADS', '1')  # see test_xtb.py

RECORDS = mini.read_records(mini.embedded_lines()[:400])


def energy_and_gradient(numbers, coords):
  """tblite from a fresh start, Ha and Ha/bohr."""
  from tblite import interface

  calculator = interface.Calculator(
    'GFN2-xTB', np.asarray(numbers), np.asarray(coords) / units.BOHR_A
  )
  calculator.set('verbosity', 0)
  result = calculator.singlepoint()
  return result.get('energy'), np.array(result.get('gradient'))


def check_frontier(row, result):
  """Compares the frontier orbitals of a record with those of xTB."""
  n = len(result.homo)
  assert (row['n_homo'], row['n_lumo']) == (n, len(result.lumo))
  shape = (n + len(result.lumo), *result.homo.shape[1:])
  both = row['frontier'].reshape(shape)
  np.testing.assert_array_equal(both[:n], result.homo)
  np.testing.assert_array_equal(both[n:], result.lumo)
  homo, lumo = row['xtb_levels'][5:7]
  assert lumo - homo == row['xtb_gap'] == result.gap


@pytest.fixture
def some(monkeypatch):
  """A builder of a few of the embedded molecules, stretched by 5 %."""

  def put(n):
    rows = [json.loads(line) for line in mini.embedded_lines()[:n]]
    for row in rows:
      row['coords'] = (1.05 * np.array(row['coords'])).tolist()
    lines = [json.dumps(row) for row in rows]
    monkeypatch.setattr(mini, 'embedded_lines', lambda: lines)
    return mini.read_records(lines)

  return put


def test_relaxed_geometries_are_minima(some, tmp_path):
  """By tblite anew: no gradient is left, and the energy is lower."""
  published = some(5)
  builder = data_builders.build('qm9_mini', tmp_path, workers=2, variant='gfn2')
  rows = list(builder.as_data_source(split='all'))
  assert len(rows) == 5
  for row, record in zip(rows, published, strict=True):
    assert row['example_id'].decode() == record.example_id
    before, slope = energy_and_gradient(record.numbers, record.coords)
    after, rest = energy_and_gradient(record.numbers, row['positions'])
    # The field of a fresh start differs in its last digits.
    assert np.abs(rest).max() < 1.1 * geometries.TOLERANCE
    assert np.abs(slope).max() > 10 * geometries.TOLERANCE
    assert after < before - 1e-3
    assert np.abs(row['positions'] - record.coords).max() > 0.01
    # xTB is of the new geometry, labels are the published ones.
    result = xtb.run(record.numbers, row['positions'])
    np.testing.assert_array_equal(row['orbitals'], result.orbitals.ravel())
    check_frontier(row, result)
    assert row['xtb_energy'] == result.energy == pytest.approx(after, abs=1e-7)
    for name, value in record.targets.items():
      assert row[name] == value
  report = data_builders.report(builder)
  assert report['geometry'] == 'gfn2'
  # A relaxation is many times one calculation.
  assert report['xtb_seconds_per_molecule'] > 0


def test_a_molecule_that_changes_its_bonds_is_refused():
  """Water stretched beyond a bond's length goes back to it: other labels."""
  far = [[0.0, 0, 0], [1.25, 0.6, 0], [-0.76, 0.59, 0]]
  with pytest.raises(xtb.XtbError, match=r'made or broke the bonds \[\(0, 1\)'):
    geometries.relax([8, 1, 1], far)
  # Across a three-membered ring a pair may pass the limit by a little.
  a, b = (np.array([[0.0, 0, 0], [0, 0, r]]) for r in (1.81, 1.83))
  assert (
    geometries._changed_bonds([6, 6], a / units.BOHR_A, b / units.BOHR_A) == []
  )
  assert geometries._changed_bonds(
    [6, 6], a / units.BOHR_A, 1.2 * a / units.BOHR_A
  ) == [(0, 1)]
  # Within a bond's length it is the same molecule.
  near = [[0.0, 0, 0], [0.85, 0.6, 0], [-0.76, 0.59, 0]]
  relaxed = geometries.relax([8, 1, 1], near)
  lengths = np.linalg.norm(relaxed[1:] - relaxed[0], axis=1)
  assert lengths[0] == pytest.approx(lengths[1], abs=0.002)
  assert 0.94 < lengths[0] < 0.98


def test_noise_is_normal_and_of_its_size():
  moves = np.concatenate(
    [geometries.noisy(r, 0.2).coords - r.coords for r in RECORDS]
  )
  n = moves.size
  assert n > 10_000
  # Five standard errors of mean, variance, skewness and kurtosis.
  z = moves.ravel() / 0.2
  assert abs(z.mean()) < 5 / np.sqrt(n)
  assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
  assert abs((z**3).mean()) < 5 * np.sqrt(15 / n)
  assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
  # Coordinates of an atom, neighbouring atoms and molecules of one size know
  # nothing of each other.
  for a, b in ((moves[:, 0], moves[:, 1]), (moves[1:, 2], moves[:-1, 2])):
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))
  first = np.array(
    [(geometries.noisy(r, 0.2).coords - r.coords)[0] for r in RECORDS]
  )
  assert len(np.unique(first.round(9))) == first.size


def test_noise_follows_from_the_id_alone():
  one = RECORDS[7]
  here = geometries.noisy(one, 0.1)
  np.testing.assert_array_equal(
    geometries.noisy(one._replace(index=99), 0.1).coords, here.coords
  )
  other = geometries.noisy(one._replace(example_id='mini_9999'), 0.1)
  assert np.abs(other.coords - here.coords).min() > 0
  # Of another size it goes the same way.
  np.testing.assert_allclose(
    geometries.noisy(one, 0.5).coords - one.coords,
    5 * (here.coords - one.coords),
    rtol=1e-9,
  )


def test_a_noisy_dataset_has_xtb_of_its_own_coordinates(
  some, tmp_path, monkeypatch
):
  """Whatever the order and number of workers; nothing else changes."""
  published = some(6)
  found = {}
  for workers in (1, 2):
    data = tmp_path / str(workers)
    builder = data_builders.build(
      'qm9_mini', data, workers=workers, variant='noise_0.05'
    )
    found[workers] = list(builder.as_data_source(split='all'))
  plain = data_builders.build('qm9_mini', tmp_path / '1', workers=1)
  as_published = list(plain.as_data_source(split='all'))
  assert data_builders.fingerprint(plain) != data_builders.fingerprint(builder)
  for one, two, row, record in zip(
    *found.values(), as_published, published, strict=True
  ):
    np.testing.assert_array_equal(row['positions'], record.coords)
    want = geometries.noisy(record, 0.05).coords
    np.testing.assert_array_equal(one['positions'], want)
    np.testing.assert_array_equal(two['positions'], want)
    np.testing.assert_array_equal(one['orbitals'], two['orbitals'])
    result = xtb.run(record.numbers, want)
    np.testing.assert_array_equal(one['orbitals'], result.orbitals.ravel())
    check_frontier(one, result)
    assert one['xtb_energy'] == result.energy
    assert one['xtb_energy'] != row['xtb_energy']
    for name, value in record.targets.items():
      assert one[name] == row[name] == value
  # In another order each molecule has the same noise, and the set its hash.
  backwards = dict(
    records.examples(
      published[::-1], str(tmp_path), {'dataset': 'x'}, 1, 'noise_0.05'
    )
  )
  report = json.loads((tmp_path / records.REPORT).read_text())
  assert report['sha256'] == data_builders.report(builder)['sha256']
  for row in found[1]:
    np.testing.assert_array_equal(
      backwards[row['index']]['positions'], row['positions']
    )


def test_homo_and_lumo_are_those_of_the_geometry_of_the_run(some, tmp_path):
  published = some(3)
  config = tiny_runs.tiny(tmp_path)
  config.data.workers = 1
  config.data.geometry, config.data.noise = 'noise', 0.1
  config.representation.channels = ('homo', 'lumo')
  config.representation.supersample = 2
  config = configuration.resolve(config)
  pack = loading.load_pack(config.data, dataset_variant(config))
  selection, rows = make.selection_of(config), np.arange(3)
  padding = padded.padding_of(pack, rows, selection)
  batch = padded.make_molecules(pack, rows, padding, selection)
  f = jax.jit(make_voxelizer(config.representation).raw)
  for i, record in enumerate(published):
    got = np.asarray(f(jax.tree.map(lambda x, i=i: x[i], batch)))
    want, still = (
      np.asarray(f(with_frontier(of, padding)))
      for of in (geometries.noisy(record, 0.1), record)
    )
    np.testing.assert_allclose(got, want, atol=1e-5 * want.max())
    assert np.abs(got - still).max() > 1e-3 * want.max()


def with_frontier(record, padding):
  """Makes a molecule of xTB's own results."""
  result = xtb.run(record.numbers, record.coords)
  return Molecule.from_arrays(
    record.numbers,
    record.coords,
    homo=result.homo,
    lumo=result.lumo,
    max_atoms=padding.ligand,
    max_frontier=padding.frontier,
  )


def test_a_configuration_opens_its_variant(some, tmp_path):
  """The published one stays where it has been, the other lies beside it."""
  some(12)
  config = qm9_density.get_config('smoke')
  config.data.data_dir = str(tmp_path)
  config.data.workers = 1
  config.data.train_size = 4.0
  config.data.max_eval = 1
  packs = {}
  for geometry, noise in (('published', 0.0), ('noise', 0.03)):
    config.data.geometry, config.data.noise = geometry, noise
    resolved = configuration.resolve(config)
    packs[geometry] = loading.load_pack(
      resolved.data, dataset_variant(resolved)
    )
  before, after = packs.values()
  assert before.ids == after.ids
  difference = np.asarray(after.positions) - np.asarray(before.positions)
  assert 0.02 < difference.std() < 0.04
  assert (tmp_path / 'edjax_qm9_mini' / '1.2.0').is_dir()
  assert (tmp_path / 'edjax_qm9_mini' / 'noise_0.03' / '1.2.0').is_dir()


@pytest.mark.parametrize('variant', ['noise', 'noise_-1', 'dft', 'noise_nan'])
def test_unknown_variants_are_refused(variant, tmp_path):
  with pytest.raises(ValueError, match=f"no geometry '{variant}'"):
    data_builders.build('qm9_mini', tmp_path, variant=variant)
