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
from edjax import commands
from edjax import config as configuration
from edjax.molecule import Molecule
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


def molecule_of(pack, row, **changes):
  """Makes the Molecule of a row, in the frame of its file."""
  begin, end = pack.atom_offsets[row : row + 2]
  shape = pack.orbital_counts[row], end - begin, pack.orbital_widths[row]
  first, last = pack.orbital_offsets[row : row + 2]
  options = {
    'orbitals': pack.orbitals[first:last].reshape(shape),
    'index': int(pack.index[row]),
  }
  return Molecule.from_arrays(
    pack.numbers[begin:end], pack.positions[begin:end], **options | changes
  )


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
    molecule_of(pack, row, center=i % 2 == 0, max_atoms=30 - i)
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
  molecules = [molecule_of(pack, row, max_atoms=24) for row in (3, 4)]
  expected_NT = model.predict(molecules).mean_NT
  found = [jax.jit(model.apply)(mol) for mol in molecules]
  np.testing.assert_allclose(found, expected_NT, rtol=2e-5, atol=2e-5)
  # What it depends on: not on place and padding, but on coordinates.
  mol = molecules[0]
  moved = dataclasses.replace(
    mol, coords_A3=jnp.where(mol.mask_A[:, None], mol.coords_A3 + 1.5, 0)
  )
  np.testing.assert_allclose(model.apply(moved), found[0], rtol=1e-4, atol=1e-4)
  wider = dataclasses.replace(mol, coords_A3=mol.coords_A3 * 1.05)
  assert np.abs(model.apply(wider) - found[0]).max() > 1e-3


def test_derivatives_are_differences(pack, model):
  """With respect to coordinates and to the density, in random directions."""
  mol = molecule_of(pack, 3)
  rng = np.random.default_rng(0)

  def of_coords(x):
    return model.apply(dataclasses.replace(mol, coords_A3=x))[1]

  def of_orbitals(x):
    return model.apply(dataclasses.replace(mol, orbitals_OL9=x))[1]

  for f, at, step in (
    (of_coords, mol.coords_A3, 2e-2),
    (of_orbitals, mol.orbitals_OL9, 2e-2),
  ):
    f, gradient = jax.jit(f), jax.jit(jax.grad(f))(at)
    assert np.isfinite(gradient).all()
    for _ in range(2):
      way = rng.normal(size=at.shape).astype(np.float32) * (np.abs(at) > 0)
      way /= np.linalg.norm(way)
      # Float32 leaves no smaller steps; their error is of the fourth order.
      one, two = (
        (f(at + h * way) - f(at - h * way)) / (2 * h) for h in (step, 2 * step)
      )
      expected = (4 * one - two) / 3
      found = float((gradient * way).sum())
      size = np.linalg.norm(gradient)
      assert abs(found - expected) < 0.02 * size
      assert abs(found) > 0.02 * size or abs(expected) > 0.001 * size


def test_what_a_molecule_lacks_is_named(pack, model):
  bare = molecule_of(pack, 3, orbitals=None)
  with pytest.raises(ValueError, match=r'molecule 1 has no orbitals, which'):
    model.predict([molecule_of(pack, 4), bare])
  with pytest.raises(ValueError, match='the molecule has no orbitals'):
    model.apply(bare)
  with pytest.raises(ValueError, match='there is no molecule'):
    model.predict([])
  with pytest.raises(ValueError, match='molecule 0 is a Pack'):
    model.predict([pack])


def test_gfn2s_numbers_are_not_in_a_molecule(pack, run, model, tmp_path):
  """A run that learned a difference to them predicts packs alone."""
  config = small_run.config_of(tmp_path)
  config.data.delta = 'gfn2_kernel'
  config.train.steps = 10
  config.train.eval_every = 10
  small_run.trained(tmp_path, pack, config)
  of_kernel = edjax.load(tmp_path)
  rows, expected_NT = expected_of(tmp_path, pack)
  found = of_kernel.predict_pack(pack)
  spread_T = expected_NT.std(0)
  np.testing.assert_allclose(
    found.mean_NT[rows] / spread_T, expected_NT / spread_T, rtol=0, atol=1e-5
  )
  mol = molecule_of(pack, 3)
  for f in (lambda: of_kernel.predict([mol]), lambda: of_kernel.apply(mol)):
    with pytest.raises(ValueError, match=r"data.delta='gfn2_kernel'.*--mode"):
      f()


def test_the_file_of_a_run(run, pack, model):
  kept = keeping.read(run / 'model.npz')
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
  (copy / 'model.npz').unlink()
  with pytest.raises(FileNotFoundError, match=r'model.npz.*--mode evaluate'):
    edjax.load(copy)
  with small_run.of_pack(pack):
    commands.evaluate_again(small_run.config_of(run), copy)
  assert keeping.read(copy).sha256() == before.sha256()


def test_a_damaged_file_is_no_model(run, tmp_path):
  path = tmp_path / 'model.npz'
  data = (run / 'model.npz').read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(configuration.ConfigError, match='cannot be read'):
    edjax.load(path)
  with np.load(run / 'model.npz') as stored:
    arrays = dict(stored)
  arrays['mean_T'] = arrays['mean_T'] + 1e-3
  np.savez(path, **arrays)
  with pytest.raises(configuration.ConfigError, match='not hold what was'):
    edjax.load(path)


def test_padding_grows_in_steps():
  first = model_module._roomier(
    model_module.padded.Padding(0, 0, 0, 4, 0),
    model_module.padded.Padding(17, 0, 9, 4, 0),
  )
  assert dataclasses.astuple(first) == (24, 0, 16, 4, 0, 0)
  smaller = model_module.padded.Padding(9, 1, 20, 9, 0, 2)
  grown = model_module._roomier(first, smaller)
  assert dataclasses.astuple(grown) == (24, 64, 24, 9, 0, 2)
