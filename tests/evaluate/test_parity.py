"""Pictures of predictions against true values."""

import numpy as np
import pytest

from edjax.evaluate import parity


@pytest.mark.parametrize('shared', [True, False])
def test_panels_have_the_diagonal_and_their_points(shared):
  target_N = np.array([1.0, 2.0, 4.0])
  panels = [
    parity.Panel(f'p{k}', 'eV', target_N * k, target_N * k + 0.5)
    for k in (1, 10, 100, 1000)
  ]
  figure = parity.draw(panels, 'all', shared)
  # Three in a row; the places that are left stay empty.
  shown = [axis for axis in figure.axes if axis.get_visible()]
  assert [axis.get_title() for axis in shown] == [p.title for p in panels]
  assert len(figure.axes) == 6
  for axis, panel in zip(shown, panels, strict=True):
    diagonal, points = axis.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_array_equal(points.get_xdata(), panel.target_N)
    np.testing.assert_array_equal(points.get_ydata(), panel.prediction_N)
    assert axis.get_xlabel() == 'target (eV)'
  ends = {tuple(axis.lines[0].get_xdata()) for axis in shown}
  assert len(ends) == (1 if shared else 4)
