"""Labels with gaps, and classes."""

import dataclasses
import types

import numpy as np
import pytest

from edjax.config import ConfigError
from edjax.data import labelling, splitting

RNG = np.random.default_rng(0)
ROWS = {
  'train': np.arange(20),
  'validation': np.arange(20, 25),
  'test': np.arange(25, 30),
}
NAMES = 'pIC50', 'logS'


def columns_with_gaps():
  columns_NT = RNG.normal(size=(30, 2)) * [1, 3] + [5, -2]
  columns_NT[::3, 1] = np.nan
  return columns_NT


def test_gaps_take_no_part_in_the_standard():
  columns_NT = columns_with_gaps()
  labels = labelling.make_labels(columns_NT, ROWS['train'], NAMES)
  measured = columns_NT[:20, 1][np.isfinite(columns_NT[:20, 1])]
  assert labels.mean_T[1] == pytest.approx(measured.mean(), rel=1e-12)
  assert labels.scale_T[1] == pytest.approx(measured.std(), rel=1e-12)
  np.testing.assert_array_equal(
    np.isnan(labels.values_NT[:, 1]), [1, 0, 0] * 10
  )
  # Without gaps the bits are those of numpy's mean.
  assert labels.mean_T[0] == columns_NT[:20].mean(0)[0]
  assert labels.scale_T[0] == columns_NT[:20].std(0)[0]


@pytest.mark.parametrize('part', ROWS)
def test_a_target_without_labels_is_refused_by_name(part):
  columns_NT = columns_with_gaps()
  labelling.check(columns_NT, ROWS, NAMES, False)
  columns_NT[ROWS[part], 1] = np.nan
  with pytest.raises(ConfigError, match=f'logS is measured for none .* {part}'):
    labelling.check(columns_NT, ROWS, NAMES, False)
  columns_NT[ROWS[part][2], 1] = -np.inf
  with pytest.raises(ConfigError, match=f'logS is infinite for 1 {part}'):
    labelling.check(columns_NT, ROWS, NAMES, False)


def test_shuffled_labels_keep_their_gaps():
  columns_NT = columns_with_gaps()
  rows = types.SimpleNamespace(**ROWS)
  found_NT = labelling.shuffled(columns_NT, rows, 0)
  np.testing.assert_array_equal(np.isnan(found_NT), np.isnan(columns_NT))
  np.testing.assert_array_equal(found_NT[25:], columns_NT[25:])
  for part in ('train', 'validation'):
    before, after = columns_NT[ROWS[part]], found_NT[ROWS[part]]
    np.testing.assert_array_equal(np.sort(before, 0), np.sort(after, 0))
    assert (before[:, 0] != after[:, 0]).any()
  moved = columns_NT[:20, 1] != found_NT[:20, 1]
  assert moved[np.isfinite(columns_NT[:20, 1])].mean() > 0.5
  # Where all are measured, the labels of a molecule stay together.
  whole_NT = np.arange(60.0).reshape(30, 2)
  found_NT = labelling.shuffled(whole_NT, rows, 0)
  np.testing.assert_array_equal(found_NT[:, 0] + 1, found_NT[:, 1])


@dataclasses.dataclass
class Source:
  """The part of a pack that a random split reads."""

  ids: list
  columns: dict
  uncharacterized: tuple = ()

  def heavy_atoms(self):
    return np.ones(30)

  def __len__(self):
    return 30


def test_molecules_without_any_label_are_in_no_part():
  ids = [f'm{i}' for i in range(30)]
  columns = dict(zip(NAMES, columns_with_gaps().T, strict=True))
  columns['pIC50'][:6] = np.nan  # 0 and 3 have neither
  source = Source(ids, columns)
  data = types.SimpleNamespace(
    split='random', seed=0, train_size=1.0, max_eval=0, split_file='',
    validation_fraction=0.2, test_fraction=0.2, subset_seed=0,
    validation_share=0.0, targets=NAMES,
  )  # fmt: skip

  def used(targets):
    data.targets = targets
    split = splitting.make_split(source, data)
    return sorted([*split.train, *split.validation, *split.test])

  assert used(NAMES) == [i for i in range(30) if i not in (0, 3)]
  assert used(('pIC50',)) == [*range(6, 30)]
  assert used(('logS',)) == [i for i in range(30) if i % 3]


def classes():
  columns_NT = (RNG.random((30, 2)) < 0.5).astype(float)
  columns_NT[:2] = [[0, 1], [1, 0]]
  columns_NT[5, 1] = np.nan
  return columns_NT


def test_classes_are_learned_as_they_are():
  columns_NT = classes()
  labelling.check(columns_NT, ROWS, NAMES, True)
  labels = labelling.make_classes(columns_NT)
  np.testing.assert_array_equal(labels.values_NT, columns_NT)
  # The mean of probabilities, not the probability of the mean logit.
  logits_RBT = np.array([[[0.0, 4.0]], [[np.log(3), -4.0]]])
  mean_BT = labels.to_native(logits_RBT, np.array([7])).mean(0)
  np.testing.assert_allclose(mean_BT, [[(0.5 + 0.75) / 2, 0.5]], rtol=1e-12)


def test_what_is_no_class_is_refused_by_name_and_value():
  columns_NT = classes()
  columns_NT[27, 1] = 0.5
  with pytest.raises(
    ConfigError, match=r'logS is 0\.5 .* other values in test'
  ):
    labelling.check(columns_NT, ROWS, NAMES, True)
  labelling.check(columns_NT, ROWS, NAMES, False)
  columns_NT = classes()
  columns_NT[:20, 0] = 1
  with pytest.raises(ConfigError, match=r'pIC50 is 1 for all 20 training'):
    labelling.check(columns_NT, ROWS, NAMES, True)
