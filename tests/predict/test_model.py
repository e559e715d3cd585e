"""Predictions of a kept run, without its data."""

import csv
import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import small_run

import edjax
from edjax import baselines, commands
from edjax import config as configuration
from edjax.predict import kept as keeping
from edjax.predict import model as model_module


@pytest.fixture(scope='module')
def pack(tmp_path_factory):
  return small_run.pack_in(tmp_path_factory.mktemp('packs') / 'mini')


@pytest.fixture(scope='module')
def run(pack, tmp_path_factory):
  """The directory of a trained run."""
  directory = tmp_path_factory.mktemp('run')
  small_run.trained(directory, pack)
  return directory


@pytest.fixture(scope='module')
def model(run):
  return edjax.load(run)


def rows_of(run):
  """id -> name -> prediction on the test molecules, as the run has written."""
  with (run / 'predictions_test.csv').open() as file:
    rows = list(csv.DictReader(file))
  return {
    name: {r['id']: float(r['prediction']) for r in rows if r['name'] == name}
    for name in ('gap', 'mu')
  }


def expected_of(run, pack):
  """Test rows, and what the run has predicted for them."""
  written = rows_of(run)
  rows = np.array([pack.ids.index(name) for name in written['gap']])
  columns = [[*of_target.values()] for of_target in written.values()]
  return rows, np.column_stack(columns)


def test_a_pack_gets_the_predictions_of_the_run(run, pack, model):
  rows, expected_NT = expected_of(run, pack)
  found = model.predict_pack(pack)
  assert (found.names, found.units) == (('gap', 'mu'), ('Ha', 'D'))
  spread_T = expected_NT.std(0)
  close = {'rtol': 0, 'atol': 1e-5}
  np.testing.assert_allclose(
    found.mean_NT[rows] / spread_T, expected_NT / spread_T, **close
  )
  assert (found.sd_NT > 0).all()
  # Other rotations: what is compared could differ.
  turned = dataclasses.replace(pack, index=pack.index + 1)
  other_NT = model.predict_pack(turned).mean_NT[rows]
  assert np.abs((other_NT - expected_NT) / spread_T).max() > 1e-3


def test_molecules_get_the_predictions_of_the_run(run, pack, model):
  """Wherever they lie in their frames, and padded as they like."""
  rows, expected_NT = expected_of(run, pack)
  molecules = [
    small_run.molecule_of(pack, row, center=i % 2 == 0, max_atoms=30 - i)
    for i, row in enumerate(rows)
  ]
  found = model.predict(molecules)
  spread_T = expected_NT.std(0)
  np.testing.assert_allclose(
    found.mean_NT / spread_T, expected_NT / spread_T, rtol=0, atol=1e-4
  )
  np.testing.assert_allclose(
    found.sd_NT, model.predict_pack(pack).sd_NT[rows], rtol=0.01
  )
  # A tenth more density is seen.
  denser = [
    dataclasses.replace(mol, orbitals_OL9=mol.orbitals_OL9 * 1.05)
    for mol in molecules
  ]
  change_NT = model.predict(denser).mean_NT - expected_NT
  assert np.abs(change_NT / spread_T).max() > 1e-3


def test_a_pure_function_of_a_molecule(pack, model):
  """What it gives, and its derivatives with respect to coordinates and density.

  Derivatives are compared with differences along random directions.
  """
  padded = {'max_atoms': 12, 'max_orbitals': 16, 'orbital_width': 4}
  small = [
    int(row)
    for row in np.flatnonzero(pack.atom_counts <= 12)
    if pack.orbital_counts[row] <= 16 and pack.orbital_widths[row] == 4
  ][:2]
  molecules = [small_run.molecule_of(pack, row, **padded) for row in small]
  apply = jax.jit(model.apply)
  found_NT = np.array([apply(mol) for mol in molecules])
  expected_NT = model.predict(molecules).mean_NT
  np.testing.assert_allclose(found_NT, expected_NT, rtol=2e-5, atol=2e-5)
  assert np.abs(found_NT[0] - found_NT[1]).max() > 1e-3
  # It does not depend on the place in the frame.
  mol = molecules[0]
  moved_A3 = jnp.where(mol.mask_A[:, None], mol.coords_A3 + 1.5, 0)
  moved = apply(dataclasses.replace(mol, coords_A3=moved_A3))
  np.testing.assert_allclose(moved, found_NT[0], rtol=1e-4, atol=1e-4)

  def second_target(at):
    """Of coordinates and orbitals."""
    changed = dict(zip(('coords_A3', 'orbitals_OL9'), at, strict=True))
    return model.apply(dataclasses.replace(mol, **changed))[1]

  at = mol.coords_A3, mol.orbitals_OL9
  f, gradients = jax.jit(second_target), jax.jit(jax.grad(second_target))(at)
  for k in (0, 1):
    check_slope(f, at, gradients, k)


def check_slope(f, at, gradients, k):
  """Compares the gradient of one argument with differences along a way."""
  rng, step = np.random.default_rng(0), 2e-2
  assert np.isfinite(gradients[k]).all()
  size = np.linalg.norm(gradients[k])
  # Half along the gradient, half along something else.
  other = rng.normal(size=at[k].shape) * (np.abs(at[k]) > 0)
  way = gradients[k] / size + other / np.linalg.norm(other)

  def along(h):
    moved = [*at]
    moved[k] = moved[k] + np.float32(h) * way.astype(jnp.float32)
    return float(f(tuple(moved)))

  # Float32 leaves no smaller steps; what is left is of the fourth order.
  one, two = ((along(h) - along(-h)) / (2 * h) for h in (step, 2 * step))
  difference = (4 * one - two) / 3
  assert difference == pytest.approx(
    float((gradients[k] * way).sum()), rel=0.03
  )
  assert abs(difference) > 0.2 * size


def test_atom_types_have_a_slope_by_the_coordinates(pack):
  model = model_module.Model(small_run.untrained(pack))
  mol = small_run.molecule_of(pack, 3)

  def first_target(at):
    return model.apply(dataclasses.replace(mol, coords_A3=at[0]))[0]

  at = (mol.coords_A3,)
  f, gradients = jax.jit(first_target), jax.jit(jax.grad(first_target))(at)
  check_slope(f, at, gradients, 0)


def test_what_a_molecule_lacks_is_named(pack, model):
  bare = small_run.molecule_of(pack, 3, orbitals=None)
  with pytest.raises(ValueError, match=r'molecule 1 has no orbitals, which'):
    model.predict([small_run.molecule_of(pack, 4), bare])
  with pytest.raises(ValueError, match='the molecule has no orbitals'):
    model.apply(bare)
  with pytest.raises(ValueError, match='there is no molecule'):
    model.predict([])
  with pytest.raises(ValueError, match='molecule 0 is a Pack'):
    model.predict([pack])


def test_gfn2s_numbers_are_not_in_a_molecule(pack, model):
  """A run that learned a difference to them predicts packs alone."""
  columns_NT = np.column_stack([pack.columns[name] for name in ('gap', 'mu')])
  fitted = baselines.fit(pack, columns_NT, np.arange(50), np.arange(50, 70))
  kernel = fitted.delta('gfn2_kernel')
  with_kernel, without = (
    model_module.Model(dataclasses.replace(model.kept, delta=delta))
    for delta in (kernel, None)
  )
  difference_NT = (
    with_kernel.predict_pack(pack).mean_NT - without.predict_pack(pack).mean_NT
  )
  np.testing.assert_allclose(difference_NT, kernel.predict(pack), atol=1e-6)
  assert difference_NT.std(0).min() > 1e-3
  mol = small_run.molecule_of(pack, 3)
  for f in (with_kernel.predict, lambda mols: with_kernel.apply(mols[0])):
    with pytest.raises(ValueError, match=r'GFN2-xTB.s numbers leaves.*--mode'):
      f([mol])


def test_the_file_of_a_run(run, pack, model):
  kept = keeping.read(run / 'predictor.npz')
  assert set(kept.numbers_E) <= {1, 6, 7, 8, 9}
  assert len(kept.validation_ids) == len(kept.target_VT) == 8
  results = json.loads((run / 'results.json').read_text())
  assert kept.step == results['selected_step']
  assert kept.heavy_atoms == max(
    (pack.numbers[b:e] > 1).sum()
    for row, (b, e) in enumerate(
      zip(pack.atom_offsets[:-1], pack.atom_offsets[1:], strict=True)
    )
    if pack.ids[row] not in {*kept.validation_ids, *rows_of(run)['gap']}
  )
  assert kept.sha256() == model.kept.sha256()
  other = dataclasses.replace(kept, mean_T=kept.mean_T + 1)
  assert other.sha256() != kept.sha256()


def test_evaluation_writes_the_file_again(run, pack, tmp_path):
  copy = tmp_path / 'copy'
  shutil.copytree(run, copy)
  before = keeping.read(copy)
  (copy / 'predictor.npz').unlink()
  with pytest.raises(
    FileNotFoundError, match=r'predictor.npz.*--mode evaluate'
  ):
    edjax.load(copy)
  with small_run.of_pack(pack):
    commands.evaluate_again(small_run.config_of(run), copy)
  assert keeping.read(copy).sha256() == before.sha256()


def test_a_damaged_file_is_no_model(run, tmp_path):
  path = tmp_path / 'predictor.npz'
  data = (run / 'predictor.npz').read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(configuration.ConfigError, match='cannot be read'):
    edjax.load(path)
  with np.load(run / 'predictor.npz') as stored:
    arrays = dict(stored)
  arrays['mean_T'] = arrays['mean_T'] + 1e-3
  np.savez(path, **arrays)
  with pytest.raises(configuration.ConfigError, match='not hold what was'):
    edjax.load(path)
