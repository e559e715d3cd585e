"""Tables of regressions: errors by size, paired differences, verdicts."""

from collections.abc import Sequence

import numpy as np

from benchmarks.accuracy.regression_rows import Rows
from edjax.evaluate import paired
from edjax.study.multiple_testing import holm

NAMES = {
  'composition': 'composition',
  'gfn2': "GFN2's numbers",
  'histogram_xtb': "histogram of xTB's density",
  'histogram_free': "histogram of free atoms' density",
  'moments_atoms': 'moments of atom types',
  'moments_xtb': "moments of xTB's density",
  'moments_xtb_mass': "moments of xTB's density about the centre of mass",
  'moments_free': "moments of free atoms' density",
  'slatm': 'SLATM',
  'fchl19': 'FCHL19',
}
METHODS = {'ridge': 'ridge', 'kernel': 'kernel ridge'}
PAIRS = (
  ('gfn2+histogram_xtb', 'gfn2+histogram_free'),
  ('histogram_xtb', 'histogram_free'),
  ('gfn2+moments_xtb', 'gfn2+moments_free'),
  ('moments_xtb', 'moments_free'),
  ('gfn2+moments_xtb', 'gfn2+moments_atoms'),
  ('moments_xtb', 'moments_atoms'),
  ('moments_xtb', 'moments_xtb_mass'),
  ('gfn2+histogram_free', 'histogram_free'),
  ('gfn2+histogram_xtb', 'gfn2'),
  ('gfn2+histogram_free', 'gfn2'),
  ('gfn2+moments_atoms', 'gfn2'),
  ('gfn2+moments_xtb', 'gfn2'),
  ('gfn2+moments_free', 'gfn2'),
)
# What docs/protocol.md asks, with the size, the regression and the targets.
QUESTIONS = {
  "xTB's density adds something": PAIRS[0],
  "GFN2's numbers add something": ('gfn2+histogram_free', 'histogram_free'),
}
JUDGED_AT, JUDGED_BY, JUDGED = 8000, 'kernel', 4


def tables(rows: Rows, columns: Sequence[str], target_NT: np.ndarray) -> str:
  """Returns Markdown of all finished regressions.

  Args:
    rows: finished regressions.
    columns: titles of the targets; the first `JUDGED` have verdicts.
    target_NT: true values of the test molecules.
  """
  scores = _Scores(rows, target_NT)
  most = max((len(seeds) for seeds in scores.seeds.values()), default=0)
  parts = [
    f'MAE, mean of {most} subsets (of n where (n) follows) ± half of the 95 % '
    f'interval over subsets and {len(target_NT)} test molecules.'
  ]
  for t, column in enumerate(columns):
    parts += [f'### {column}', _errors(scores, t, most)]
  parts += ['## Differences', 'MAE of the first minus that of the second.']
  for t, column in enumerate(columns):
    parts += [f'### {column}, differences', _differences(scores, t, most)]
  return '\n\n'.join([*parts, '## Verdicts', _verdicts(scores, columns)])


class _Scores:
  """Errors of finished regressions, by subset and on draws of test molecules.

  Attributes:
    seeds: (features, method, labels) -> subset seeds.
    sizes: numbers of labels.
  """

  def __init__(self, rows: Rows, target_NT: np.ndarray):
    self._rows, self._target_NT = rows, target_NT
    self._draws = paired.Draws(np.arange(len(target_NT)))
    self._known = {}
    self.seeds = {}
    for *run, seed in rows.finished():
      self.seeds.setdefault(tuple(run), []).append(seed)
    self.sizes = sorted({labels for _, _, labels in self.seeds})

  def pairs(self, first: str, second: str):
    """Yields the methods of both, in the order of METHODS."""
    for method in METHODS:
      both = [
        any((name, method, size) in self.seeds for size in self.sizes)
        for name in (first, second)
      ]
      if all(both):
        yield method

  def mean(self, run, t: int) -> paired.Difference | float | None:
    """Returns the error of a target; without interval for one subset."""
    return self._over(sorted(self.seeds.get(run, ())), (run,), t)

  def difference(self, first, second, t: int):
    """Returns the paired difference on the subsets that both have."""
    seeds = set(self.seeds.get(first, ())) & set(self.seeds.get(second, ()))
    return self._over(sorted(seeds), (first, second), t)

  def _over(self, seeds, runs, t: int):
    if not seeds:
      return None
    value_S, drawn_RS = 0, 0
    for sign, run in zip((1, -1), runs, strict=False):
      scored = [self._score((*run, seed), t) for seed in seeds]
      value_S = value_S + sign * np.array([value for value, _ in scored])
      drawn_RS = drawn_RS + sign * np.column_stack([d for _, d in scored])
    if len(seeds) < 2:
      return float(value_S[0])
    return paired.difference(value_S, drawn_RS, self._draws)

  def _score(self, key, t: int):
    if key not in self._known:
      prediction_NT = self._rows.predictions(key)
      self._known[key] = [
        self._draws.score(target_N, guess_N[None], 'mae')
        for target_N, guess_N in zip(
          self._target_NT.T, prediction_NT.T, strict=True
        )
      ]
    value_S, drawn_RS = self._known[key][t]
    return value_S[0], drawn_RS[:, 0]


def _title(features: str) -> str:
  return ' + '.join(NAMES[name] for name in features.split('+'))


def _errors(scores: _Scores, t: int, most: int) -> str:
  table = [['features', 'regression', *(f'{n:,}' for n in scores.sizes)]]
  known = {(name, method) for name, method, _ in scores.seeds}
  order = [*NAMES, *(f'gfn2+{name}' for name in NAMES)]
  for name in order:
    for method in METHODS:
      if (name, method) in known:
        table.append(
          [_title(name), METHODS[method]]
          + [
            _cell(
              scores.mean((name, method, size), t),
              len(scores.seeds.get((name, method, size), ())),
              most,
            )
            for size in scores.sizes
          ]
        )
  return _markdown(table)


def _differences(scores: _Scores, t: int, most: int) -> str:
  head = ['first', 'second', 'regression']
  table = [[*head, *(f'{n:,}' for n in scores.sizes)]]
  for first, second in PAIRS:
    for method in scores.pairs(first, second):
      cells = []
      for size in scores.sizes:
        found = scores.difference(
          (first, method, size), (second, method, size), t
        )
        subsets = getattr(found, 'seeds', int(found is not None))
        cells.append(_cell(found, subsets, most))
      table.append([_title(first), _title(second), METHODS[method], *cells])
  return _markdown(table)


def _cell(found, subsets: int, most: int) -> str:
  """Formats a mean with half of its interval, and how many subsets it is of."""
  if found is None:
    return ''
  few = f' ({subsets})' if subsets != most else ''
  if isinstance(found, float):
    return _number(found) + few
  low, high = found.interval()
  return f'{_number(found.value)} ± {_number((high - low) / 2, 2)}{few}'


def _number(x: float, digits: int = 3) -> str:
  """Rounds to significant digits, and writes no powers of ten."""
  return f'{float(f"{x:.{digits}g}"):g}'


def _verdicts(scores: _Scores, columns: Sequence[str]) -> str:
  """Returns the answers that docs/protocol.md has rules for."""
  table = [['question', 'target', 'difference (95 %)', 'p, corrected', '']]
  for question, (first, second) in QUESTIONS.items():
    found = [
      scores.difference(
        (first, JUDGED_BY, JUDGED_AT), (second, JUDGED_BY, JUDGED_AT), t
      )
      for t in range(JUDGED)
    ]
    if not all(isinstance(one, paired.Difference) for one in found):
      continue
    p_T = holm([2 * min(one.p_below(), one.p_above()) for one in found])
    for column, one, p in zip(columns, found, p_T, strict=False):
      low, high = one.interval()
      verdict = 'undecided'
      if p <= paired.ALPHA:
        verdict = 'yes' if one.value < 0 else 'no: it takes away'
      interval = f'{_number(low)} to {_number(high)}'
      interval = f'{_number(one.value)} ({interval})'
      verdict += f' ({one.seeds} subsets)'
      table.append([question, column, interval, f'{p:.2g}', verdict])
  return _markdown(table)


def _markdown(table: list[list[str]]) -> str:
  lines = ['| ' + ' | '.join(row) + ' |' for row in table]
  lines[1:1] = ['|---' * len(table[0]) + '|']
  return '\n'.join(lines)
