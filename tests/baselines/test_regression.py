"""Baselines that are fitted once, kept, and applied to other molecules."""

import numpy as np
import pytest
from scipy import optimize, special

from edjax import baselines
from edjax.baselines import kernel_ridge, logistic
from edjax.data import packed_dataset

TRAIN, VALIDATION = np.arange(30), np.arange(30, 45)
REST = np.arange(45, 60)


def record(i, rng):
  numbers = rng.choice([1, 6, 8] if i < 55 else [1, 6, 8, 9], 4 + i % 5)
  size = numbers.sum() + rng.normal()
  return {
    'example_id': f'm{i}', 'index': i, 'numbers': numbers,
    'positions': rng.normal(size=(len(numbers), 3)),
    'orbitals': np.zeros(len(numbers) * 4), 'n_orbitals': 1,
    'orbital_width': 4,
    'xtb_energy': np.float64(-size), 'xtb_dipole': rng.normal(size=3),
    'xtb_levels': np.linspace(-3, 3, 12) + rng.normal(),
    'descriptor_a': np.float64(np.nan if i % 4 == 0 else rng.normal()),
    'descriptor_b': np.float64(rng.normal()),
  }  # fmt: skip


def pack_of(directory, chosen):
  rng = np.random.default_rng(0)
  records = [record(i, rng) for i in range(60)]
  packed_dataset.write(directory, [records[i] for i in chosen], 'fingerprint')
  return packed_dataset.open_pack(directory)


@pytest.fixture(scope='module')
def pack(tmp_path_factory):
  return pack_of(tmp_path_factory.mktemp('packs') / 'all', range(60))


@pytest.fixture(scope='module')
def columns_NT(pack):
  """One target of the composition and one of descriptors."""
  carbons_N = baselines.composition(pack)[:, 1]
  b_N = pack.columns['descriptor_b']
  noise_NT = 0.1 * np.random.default_rng(1).normal(size=(60, 2))
  return np.column_stack([carbons_N, 3 * b_N]) + noise_NT


def fit(pack, columns_NT, **options):
  return baselines.fit(pack, columns_NT, TRAIN, VALIDATION, **options)


def test_descriptors_tell_what_the_composition_does_not(pack, columns_NT):
  found = fit(pack, columns_NT).predict(pack)
  assert set(found) == {
    'mean', 'median', 'ridge_composition', 'ridge_gfn2', 'kernel_gfn2',
    'ridge_descriptors',
  }  # fmt: skip
  error = {
    name: np.abs(values - columns_NT)[REST].mean(0)
    for name, values in found.items()
  }
  assert (error['ridge_descriptors'] < 0.2).all()
  assert error['ridge_composition'][0] < 0.2 < 1 < error['ridge_composition'][1]


@pytest.mark.parametrize('classes', [False, True])
def test_kept_and_applied_to_another_pack(pack, columns_NT, tmp_path, classes):
  """Of fewer molecules, with an element that the first pack lacks."""
  if classes:
    columns_NT = (columns_NT > np.median(columns_NT, 0)).astype(float)
  source = pack_of(tmp_path / 'source', range(50))
  fitted = fit(source, columns_NT, classes=classes)
  other = pack_of(tmp_path / 'other', [57, 3, 48])
  for name, values_NT in fitted.predict(pack).items():
    path = tmp_path / f'{name}.npz'
    np.savez(path, **fitted.regressions[name].arrays())
    with np.load(path) as arrays:  # no pickle
      kept = baselines.of_arrays(dict(arrays))
    np.testing.assert_allclose(
      kept.predict(other), values_NT[[57, 3, 48]], rtol=1e-9, atol=1e-9
    )
    if name != 'mean' and name != 'median':  # they do differ
      assert np.ptp(kept.predict(other), axis=0).min() > 1e-6


def test_a_pack_without_the_columns_is_refused(pack, columns_NT, tmp_path):
  fitted = fit(pack, columns_NT)
  bare = record(0, np.random.default_rng(0))
  for name in ('xtb_energy', 'xtb_levels'):
    del bare[name]
  packed_dataset.write(tmp_path / 'bare', [bare], 'fingerprint')
  other = packed_dataset.open_pack(tmp_path / 'bare')
  assert fitted.regressions['ridge_composition'].predict(other).shape == (1, 2)
  with pytest.raises(ValueError, match=r'no xtb_energy, xtb_levels$'):
    fitted.regressions['ridge_gfn2'].predict(other)


def test_gaps_are_as_if_the_molecule_were_in_no_part(pack, columns_NT):
  """For their target; the other one does not notice.

  Descriptor a of these molecules is unknown, and not in its training mean.
  """
  gaps_NT = columns_NT.copy()
  gaps_NT[[4, 8, 36], 1] = np.nan
  found = fit(pack, gaps_NT).predict(pack)
  whole = fit(pack, columns_NT).predict(pack)
  without = baselines.fit(
    pack, columns_NT, np.delete(TRAIN, [4, 8]), np.delete(VALIDATION, 6)
  ).predict(pack)
  for name, values_NT in found.items():
    expected_NT = np.column_stack([whole[name][:, 0], without[name][:, 1]])
    np.testing.assert_allclose(values_NT, expected_NT, rtol=1e-8, atol=1e-8)
    if name != 'median':
      assert np.abs(values_NT - whole[name])[:, 1].max() > 1e-4
  args = pack, gaps_NT, TRAIN, VALIDATION
  offset_NT = baselines.delta_offset('gfn2_kernel', found, *args)
  assert np.isfinite(offset_NT).all()
  held_out = np.abs(offset_NT - found['kernel_gfn2']) > 1e-9
  # Only what was learned from is predicted without itself.
  np.testing.assert_array_equal(
    np.flatnonzero(held_out[:, 1]), np.delete(TRAIN, [4, 8])
  )


def test_logistic_regression_is_the_minimum_of_its_loss(pack, columns_NT):
  """By another optimiser; the strength that validates best."""
  x_NF = np.column_stack([columns_NT, 7 + 0 * columns_NT[:, 0]])
  y_N = (columns_NT @ [1, 2] + np.sin(np.arange(60) ** 2) > 2).astype(float)

  def fitted(*strengths):
    return logistic.fit(
      x_NF[TRAIN], y_N[TRAIN, None], strengths,
      x_val=x_NF[VALIDATION], y_val=y_N[VALIDATION, None],
    )  # fmt: skip

  z_NF = (columns_NT - columns_NT[TRAIN].mean(0)) / columns_NT[TRAIN].std(0)

  def loss(theta, strength):
    logit_N = z_NF[TRAIN] @ theta[:2] + theta[2]
    losses_N = -special.log_expit(np.where(y_N[TRAIN] > 0, 1, -1) * logit_N)
    return theta[:2] @ theta[:2] / 2 + strength * losses_N.sum()

  validation = {}
  for strength in (0.01, 1.0, 100.0):
    best = optimize.minimize(loss, np.zeros(3), strength, tol=1e-10).x
    expected_N = special.expit(z_NF @ best[:2] + best[2])
    found_N = fitted(strength).predict(x_NF)[:, 0]
    np.testing.assert_allclose(found_N, expected_N, atol=1e-4)
    wrong_N = np.abs(y_N - expected_N)[VALIDATION]
    validation[strength] = -np.log(1 - wrong_N).mean()
  best = min(validation, key=validation.get)
  np.testing.assert_array_equal(
    fitted(*validation).weights_FT, fitted(best).weights_FT
  )
  assert fitted(best).weights_FT[2] == 0  # a feature that does not vary


def test_baselines_of_classes(pack, columns_NT):
  classes_NT = (columns_NT > np.median(columns_NT, 0)).astype(float)
  classes_NT[[0, 1], 0] = np.nan
  found = fit(pack, classes_NT, classes=True).predict(pack)
  assert set(found) == {
    'mean', 'logistic_composition', 'logistic_descriptors',
  }  # fmt: skip
  rate_T = classes_NT[2:30, 0].mean(), classes_NT[:30, 1].mean()
  np.testing.assert_allclose(found['mean'], np.tile(rate_T, (60, 1)))
  right_NT = (found['logistic_descriptors'] > 0.5) == (classes_NT > 0.5)
  assert (right_NT[REST].mean(0) > 0.8).all()
  # The second class is of descriptors, and its rate is a half.
  composition_N = found['logistic_composition'][REST, 1] > 0.5
  assert (composition_N == (classes_NT[REST, 1] > 0.5)).mean() < 0.8


def test_a_kept_kernel_has_a_number_for_each_centre():
  rng = np.random.default_rng(0)
  x_NF, y_NT = rng.normal(size=(200, 3)), rng.normal(size=(200, 2))
  fitted = kernel_ridge.fit(
    x_NF, y_NT, x_val=x_NF[:50], y_val=y_NT[:50], centres=100
  )
  arrays = fitted.arrays()
  assert arrays['weights_MT'].shape == (100, 2)
  kept = kernel_ridge.KernelRidge.of_arrays(**arrays)
  np.testing.assert_allclose(
    kept.predict(x_NF), fitted.predict(x_NF), atol=1e-6
  )
  arrays['weights_MT'] = arrays['weights_MT'][::-1]
  other = kernel_ridge.KernelRidge.of_arrays(**arrays)
  assert np.abs(other.predict(x_NF) - fitted.predict(x_NF)).max() > 1e-2
