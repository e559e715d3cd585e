"""Rules of verdicts, by differences whose verdict is known."""

import itertools

import numpy as np
import pytest

from edjax.evaluate import paired
from edjax.study import multiple_testing, verdicts


def closed_testing(p):
  """Holm's adjusted values from the definition: all Bonferroni tests of sets.

  A hypothesis is rejected when every set that holds it is (Marcus, Peritz and
  Gabriel 1976, Biometrika 63, 655).
  """
  m = len(p)
  adjusted = []
  for i in range(m):
    worst = 0.0
    for size in range(1, m + 1):
      for chosen in itertools.combinations(range(m), size):
        if i in chosen:
          worst = max(worst, min(1, size * min(p[j] for j in chosen)))
    adjusted.append(worst)
  return adjusted


@pytest.mark.parametrize('seed', range(5))
def test_holm_is_closed_testing(seed):
  p = np.random.default_rng(seed).uniform(size=5) ** 2
  np.testing.assert_allclose(
    multiple_testing.holm(p), closed_testing(p), rtol=1e-12
  )


def test_holm_by_hand():
  # 4 x .005; 3 x .01; 2 x .03; .04, which is less than the one before.
  found = multiple_testing.holm([0.01, 0.04, 0.03, 0.005])
  np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
  with pytest.raises(ValueError, match='0 to 1'):
    multiple_testing.holm([0.1, 1.2])


def found(value, error=0.1, freedom=6.0):
  return paired.Difference(value, error, freedom, 5, 1000, 1000)


def evidence(name, values, sizes=(1000,), control=-9.0):
  """Claims by sizes, values in that order; controls all have one value."""
  hypothesis = verdicts.HYPOTHESES[name]
  of_claims = itertools.product(hypothesis.claims, sizes)
  of_controls = itertools.product(
    hypothesis.tests[len(hypothesis.claims) :], sizes
  )
  return [
    verdicts.Evidence(c, n, found(v))
    for (c, n), v in zip(of_claims, values, strict=True)
  ] + [verdicts.Evidence(c, n, found(control)) for c, n in of_controls]


def words(name, values, sizes=(1000,), margin=None, targets=('x',)):
  rows = {t: evidence(name, values, sizes) for t in targets}
  margins = {} if margin is None else dict.fromkeys(targets, margin)
  hypothesis = verdicts.HYPOTHESES[name]
  return verdicts.judge(hypothesis, rows, margins)[''].word


# t with 6 degrees of freedom: 2.45 standard errors of 0.1 are two-sided 5 %.
@pytest.mark.parametrize(
  ('name', 'values', 'sizes', 'margin', 'word'),
  [
    ('H4', [-0.3], (9,), None, 'supported'),
    ('H4', [0.3], (9,), None, 'contradicted'),
    ('H4', [-0.2], (9,), None, 'undecided'),
    # Both claims at both sizes.
    ('H2', [-0.3] * 4, (1, 2), None, 'supported'),
    ('H2', [-0.3, -0.3, -0.3, -0.1], (1, 2), None, 'undecided'),
    ('H2', [-0.3, -0.3, -0.3, 0.5], (1, 2), None, 'contradicted'),
    # One of four tests at 0.035 is what chance gives.
    ('H2', [-0.3, -0.3, -0.3, 0.27], (1, 2), None, 'undecided'),
    ('H3', [0.0, 0.1], (1, 2), 0.4, 'supported'),
    ('H3', [0.0, 0.3], (1, 2), 0.4, 'undecided'),
    ('H3', [0.0, 1.0], (1, 2), 0.4, 'contradicted'),
    ('H3', [0.0, -1.0], (1, 2), 0.4, 'contradicted'),
    ('H3', [0.0, 0.1], (1, 2), None, 'undecided'),
    ('H1', [0.0] * 6, (9,), 0.4, 'supported'),
    ('H1', [0.0] * 5 + [1.5], (9,), 0.4, 'contradicted'),
    ('H5a', [-0.3], (9,), None, 'supported'),
    ('H5a', [0.0], (9,), None, 'undecided'),
    ('H5a', [0.0], (9,), 0.4, 'supported'),
    ('H5a', [0.3], (9,), None, 'contradicted'),
    ('H5a', [0.3], (9,), 0.4, 'undecided'),
    ('H5b', [-0.3], (9,), None, 'supported'),
    # Behind at the smallest, ahead at the largest.
    ('H4x', [0.5, 0.1, -0.3], (1, 2, 3), None, 'supported'),
    ('H4x', [0.1, 0.1, -0.3], (1, 2, 3), None, 'undecided'),
    ('H4x', [-0.4, -0.4, -0.4], (1, 2, 3), None, 'contradicted'),
    ('H4x', [0.5, 0.5, 0.5], (1, 2, 3), None, 'contradicted'),
    ('H4', [], (), None, 'undecided'),
  ],
)
def test_verdicts(name, values, sizes, margin, word):
  assert words(name, values, sizes, margin) == word


def test_targets_share_the_chance_of_a_false_claim():
  # p = 0.024: below 0.05 for one target, above for the first of four.
  assert words('H4', [-0.3]) == 'supported'
  assert words('H4', [-0.3], targets=('a', 'b', 'c', 'd')) == 'undecided'
  assert words('H4', [-0.5], targets=('a', 'b', 'c', 'd')) == 'supported'


def test_one_target_contradicts_and_one_is_open():
  rows = {
    'a': evidence('H4', [-0.6]), 'b': evidence('H4', [0.6]),
    'c': evidence('H4', [0.0]),
  }  # fmt: skip
  found = verdicts.judge(verdicts.HYPOTHESES['H4'], rows, {})
  assert {k: v.word for k, v in found.items()} == {
    '': 'contradicted', 'a': 'supported', 'b': 'contradicted',
    'c': 'undecided',
  }  # fmt: skip


def test_missing_comparisons_leave_it_undecided():
  rows = evidence('H2', [-0.9] * 4, (1, 2))
  rows[2] = verdicts.Evidence(rows[2].claim, 1, None, 'no run of gradient')
  found = verdicts.judge(verdicts.HYPOTHESES['H2'], {'x': rows}, {})
  assert found['x'].word == 'undecided'
  assert 'no run of gradient' in found['x'].reason
  found = verdicts.judge(verdicts.HYPOTHESES['H3'], {'x': rows[:2]}, {})
  assert 'margin' in found['x'].reason


@pytest.mark.parametrize(
  ('control', 'word'),
  # The margin is 0.4, and so is the reach of an interval, nearly.
  [(-0.7, 'supported'), (-0.6, 'undecided'), (0.0, 'undecided'),
   (9.0, 'undecided')],
)  # fmt: skip
def test_equivalence_takes_inputs_that_are_told_from_noise(control, word):
  hypothesis = verdicts.HYPOTHESES['H3']
  rows = {'x': evidence('H3', [0.0, 0.0], (1, 2), control)}
  assert verdicts.judge(hypothesis, rows, {'x': 0.4})['x'].word == word
  # A control contradicts nothing, and hides no contradiction.
  rows = {'x': evidence('H3', [0.0, 1.0], (1, 2), control)}
  judged = verdicts.judge(hypothesis, rows, {'x': 0.4})['x']
  assert judged.word == 'contradicted'


@pytest.mark.parametrize(
  ('value', 'word'), [(0.0, 'undecided'), (1.0, 'contradicted')]
)
def test_a_study_without_noise_supports_no_equivalence(value, word):
  rows = evidence('H3', [0.0, value], (1, 2))
  rows = [
    verdicts.Evidence(e.claim, e.size, None, 'noise is not in the study')
    if e.claim.b == 'noise'
    else e
    for e in rows
  ]
  judged = verdicts.judge(verdicts.HYPOTHESES['H3'], {'x': rows}, {'x': 0.4})
  assert judged['x'].word == word
  assert ('4 of 4' in judged['x'].reason) == (word == 'undecided')


def test_two_seeds_are_no_verdict():
  claim = verdicts.HYPOTHESES['H4'].claims[0]
  for seeds, word in ((2, 'undecided'), (3, 'supported')):
    sure = paired.Difference(-9.0, 0.1, 50.0, seeds, 1000, 1000)
    rows = {'x': [verdicts.Evidence(claim, 1, sure)]}
    judged = verdicts.judge(verdicts.HYPOTHESES['H4'], rows, {})['x']
    assert judged.word == word
    assert ('2 seeds' in judged.reason) == (seeds == 2)


def test_sizes_that_are_read():
  few, every = verdicts.HYPOTHESES['H2'], verdicts.HYPOTHESES['H1']
  sizes = [4000, 100, 1000, 300]
  assert verdicts.sizes_read(few, sizes) == [100, 300]
  assert verdicts.sizes_read(few, [100, 300]) == [100]
  assert verdicts.sizes_read(few, [100]) == []
  assert verdicts.sizes_read(every, sizes) == [4000]
  cross = verdicts.HYPOTHESES['H4x']
  assert verdicts.sizes_read(cross, sizes) == sorted(sizes)
  assert verdicts.sizes_read(cross, [100]) == []


def test_hypotheses_by_name():
  assert [h.name for h in verdicts.expand(['H4', 'H5a'])] == [
    'H4', 'H4x', 'H5a',
  ]  # fmt: skip
