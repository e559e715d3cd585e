"""Kernel ridge regression on few features."""

import numpy as np
import pytest

from edjax.baselines import kernel_ridge


def made_up(rng, n):
  """Correlated features of very different size; two targets of them."""
  z_NF = rng.normal(size=(n, 3))
  mix_FF = np.array([[100.0, 99.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1e-3]])
  constant_N1 = np.full((n, 1), 7.0)
  x_NF = np.hstack([z_NF @ mix_FF, constant_N1])
  y_NT = np.column_stack([np.sin(2 * z_NF[:, 1]), 50 * z_NF[:, 0] + 1000])
  return x_NF, y_NT


@pytest.fixture
def parts():
  rng = np.random.default_rng(0)
  return [made_up(rng, n) for n in (400, 100, 100)]


def fit(parts, **options):
  (x, y), (x_val, y_val), _ = parts
  fitted = kernel_ridge.fit(x, y, x_val=x_val, y_val=y_val, **options)
  return fitted.predict


def test_finds_a_curve_that_a_line_cannot(parts):
  (x, y), _, (x_test, y_test) = parts
  guess_BT = fit(parts)(x_test)
  error_T = np.abs(guess_BT - y_test).mean(0) / y_test.std(0)
  assert (error_T < 0.05).all()
  line = np.linalg.lstsq(x, y, rcond=None)[0]
  assert np.abs(x_test @ line - y_test).mean(0)[0] > 0.3 * y_test.std(0)[0]


def test_is_the_closed_form_with_every_example_a_centre():
  """(K + N strength)^-1 y, of centred kernel and targets, by hand.

  Of features that are uncorrelated and of unit size already.
  """
  rng = np.random.default_rng(1)
  x_NF = rng.normal(size=(60, 2))
  x_NF = np.linalg.qr(x_NF - x_NF.mean(0))[0] * np.sqrt(60)
  y_NT = rng.normal(size=(60, 1))
  x_test = rng.normal(size=(20, 2))
  width, strength = 1.0, 1e-3
  predict = kernel_ridge.fit(
    x_NF, y_NT, x_val=x_NF[:9], y_val=y_NT[:9], widths=[width],
    strengths=[strength],
  ).predict  # fmt: skip

  def distances(a, b):
    return np.sqrt(np.square(a[:, None] - b[None]).sum(-1))

  median = np.median(distances(x_NF, x_NF))
  kernel, to_test = (
    np.exp(-np.square(distances(a, x_NF) / median) / 2) for a in (x_NF, x_test)
  )
  # The mean of the features is taken off, so that the constant is not shrunk.
  off = np.eye(60) - 1 / 60
  solved = np.linalg.solve(
    off @ kernel @ off + 60 * strength * np.eye(60),
    y_NT - y_NT.mean(),
  )
  expected = (to_test - kernel.mean(0)) @ off @ solved + y_NT.mean()
  np.testing.assert_allclose(predict(x_test), expected, rtol=1e-3, atol=1e-3)


def test_fewer_centres_than_examples(parts):
  _, _, (x_test, y_test) = parts
  guess_BT = fit(parts, centres=150)(x_test)
  error_T = np.abs(guess_BT - y_test).mean(0) / y_test.std(0)
  assert (error_T < 0.1).all()


def test_features_without_information_give_the_mean(parts):
  (x, y), (x_val, y_val), (x_test, _) = parts
  predict = kernel_ridge.fit(
    np.ones_like(x), y, x_val=np.ones_like(x_val), y_val=y_val
  ).predict
  expected_BT = np.broadcast_to(y.mean(0), (len(x_test), 2))
  np.testing.assert_allclose(predict(np.ones_like(x_test)), expected_BT)


def test_wrong_data_are_named(parts):
  (x, y), (x_val, y_val), _ = parts
  with pytest.raises(ValueError, match='training data must be'):
    kernel_ridge.fit(x[:-1], y, x_val=x_val, y_val=y_val)
  x_val = x_val.copy()
  x_val[3, 1] = np.nan
  with pytest.raises(ValueError, match='validation data hold NaN'):
    kernel_ridge.fit(x, y, x_val=x_val, y_val=y_val)
