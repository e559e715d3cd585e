"""Boxes around atoms."""

import numpy as np
import pytest

from edjax import export

PLACES = [[-1.03, 5.2, 0.0], [0.5, 7.49, 0.0]]


def test_box_holds_atoms_and_margin_and_no_more():
  box = export.around(PLACES, 0.25, 1.0)
  last_3 = box.origin_3 + 0.25 * (np.array(box.shape) - 1)
  np.testing.assert_allclose(box.origin_3, [-2.25, 4.0, -1.0])
  np.testing.assert_allclose(last_3, [1.5, 8.5, 1.0])
  # One point less on any side would not do, but where the faces are met.
  assert box.start == (-9, 16, -4)
  assert box.shape == (16, 19, 9)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'spacing': 0.0}, 'spacing must be above 0'),
    ({'spacing': np.nan}, 'spacing must be above 0'),
    ({'margin': -1.0}, 'margin must be 0 Å or more'),
    ({'coords_A3': np.zeros((0, 3))}, 'at least one atom'),
    ({'coords_A3': [[np.inf, 0, 0]]}, 'finite'),
    ({'coords_A3': [0, 0, 0]}, r'coords must be \[A, 3\]'),
  ],
)
def test_bad_arguments_are_named(changes, message):
  good = {'coords_A3': PLACES, 'spacing': 0.25, 'margin': 1.0}
  with pytest.raises(ValueError, match=message):
    export.around(**(good | changes))
