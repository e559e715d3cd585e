"""Conformal intervals, against their promise."""

import math
import types

import numpy as np

from edjax.predict import conformal


def test_the_rank_of_the_definition():
  residual_N = np.array([-7.0, 1, 2, -3, 4, 5, 6, 8, 9])
  np.random.default_rng(0).shuffle(residual_N)
  assert conformal.half_width(residual_N) == 9
  assert conformal.half_width(np.append(residual_N, 10)) == 10  # ceil(9.9)
  assert conformal.half_width(residual_N, 0.5) == 5
  # 0.9 times 9 is above 8.
  assert conformal.half_width(residual_N[:8]) == math.inf
  gaps = np.concatenate([residual_N, [np.nan] * 5])
  assert conformal.half_width(gaps) == 9


def test_new_values_are_held_as_often_as_promised():
  """Of errors of any distribution: of 99, exactly 90 in 100 on average."""
  rng = np.random.default_rng(0)
  error_RN = rng.standard_t(2, size=(4000, 100))
  held_R = [
    abs(error_N[-1]) <= conformal.half_width(error_N[:-1])
    for error_N in error_RN
  ]
  # Four standard errors.
  assert abs(np.mean(held_R) - 0.9) < 4 * math.sqrt(0.09 / 4000)


def member(ids, error_V):
  return types.SimpleNamespace(
    validation_ids=tuple(ids),
    target_VT=np.zeros((len(ids), 1)),
    prediction_VT=np.array(error_V)[:, None],
  )


def test_an_ensemble_is_measured_where_every_member_is():
  ids, error_V = [f'm{i}' for i in range(29)], np.arange(1.0, 30)
  first = member(ids, error_V)
  np.testing.assert_allclose(conformal.half_widths([first]), 27)
  # The same molecules in another order, with errors of the other sign.
  second = member(ids[::-1], -error_V[::-1])
  np.testing.assert_allclose(conformal.half_widths([first, second]), 0)
  # Three molecules are not in both: of 26, the 25th.
  third = member([*ids[3:], 'x', 'y', 'z'], error_V)
  np.testing.assert_allclose(conformal.half_widths([first, third]), 26.5)
  # Of two of them nothing can be said.
  few = member([*ids[:2], *'abcdefghij'], error_V[:12])
  assert np.isinf(conformal.half_widths([first, few])).all()
