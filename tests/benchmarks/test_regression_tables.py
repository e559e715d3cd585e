"""Rows and tables of regressions, on predictions whose errors are known."""

import numpy as np

from benchmarks.accuracy import regression_tables
from benchmarks.accuracy.regression_rows import Rows

COLUMNS = ['gap (meV)', 'mu (D)', 'alpha (a0^3)', 'u0_atom (meV)']
TARGET_NT = np.zeros((200, 4))
FREE, XTB = 'gfn2+histogram_free', 'gfn2+histogram_xtb'


def made_up(tmp_path, gain_T, subsets=3):
  """Errors of 10, less `gain_T` with xTB's histogram, and a little noise."""
  rows = Rows(tmp_path / 'rows.csv', tmp_path / 'predictions', COLUMNS)
  rng = np.random.default_rng(0)
  for seed in range(subsets):
    for name, gain in ((FREE, np.zeros(4)), (XTB, np.asarray(gain_T))):
      error_NT = 10 - gain + 0.5 * rng.normal(size=TARGET_NT.shape)
      signs_N1 = rng.choice([-1, 1], (200, 1))
      key = name, 'kernel', 8000, seed
      rows.add(key, 1.0, signs_N1 * error_NT, TARGET_NT)
  return rows


def test_rows_are_found_again(tmp_path):
  rows = made_up(tmp_path, [0] * 4)
  again = Rows(tmp_path / 'rows.csv', tmp_path / 'predictions', COLUMNS)
  assert again.finished() == rows.finished()
  assert len(again.finished()) == 6
  key = FREE, 'kernel', 8000, 1
  assert key in again
  assert (FREE, 'ridge', 8000, 1) not in again
  text = (tmp_path / 'rows.csv').read_text()
  error = np.abs(again.predictions(key)).mean(0)
  assert f'{FREE},kernel,8000,1,1.00,{error[0]:.4g}'[:-1] in text
  # On another machine predictions are lost: they are made again, the row stays.
  (tmp_path / 'predictions' / f'{FREE}-kernel-8000-1.npy').unlink()
  assert key not in again
  again.add(key, 9.0, TARGET_NT, TARGET_NT)
  assert key in again
  assert (tmp_path / 'rows.csv').read_text() == text


def test_verdicts_follow_the_paired_differences(tmp_path):
  rows = made_up(tmp_path, [2, -2, 0, 0.3])
  lines = regression_tables.tables(rows, COLUMNS, TARGET_NT).splitlines()
  verdicts = [x for x in lines if x.startswith("| xTB's density adds")]
  ends = [line.split(' | ')[-1].rstrip(' |') for line in verdicts]
  assert ends == [
    'yes (3 subsets)',
    'no: it takes away (3 subsets)',
    'undecided (3 subsets)',
    'yes (3 subsets)',
  ]
  value = float(verdicts[0].split(' | ')[2].split()[0])
  assert abs(value + 2) < 0.1
  # The other question has no rows without GFN2's numbers.
  assert not [x for x in lines if x.startswith("| GFN2's numbers add")]


def test_one_subset_has_no_interval(tmp_path):
  rows = made_up(tmp_path, [2] * 4, subsets=1)
  text = regression_tables.tables(rows, COLUMNS, TARGET_NT)
  assert '±' not in text.split('### gap (meV)')[1].split('## Differences')[0]
  assert "| xTB's density adds" not in text
