"""The parts of a study's report that compare inputs."""

import math

import numpy as np

from edjax import baselines
from edjax.evaluate import paired
from edjax.study import run_table, verdicts
from edjax.study.report.document import (
  Figure,
  Finding,
  Listing,
  Overview,
  Section,
  Series,
  Table,
  number,
  size_word,
  spread,
  style,
)
from edjax.study.run_table import MAIN, Study

# Differences are taken to the first of these that the study has.
_REFERENCES = ('atoms', 'density')


def reference_arm(study: Study) -> str:
  """The input that differences are taken to; '' where there is none."""
  arms = study.arms()
  return next((a for a in _REFERENCES if a in arms), arms[0] if arms else '')


def point_of(arm: str, size) -> tuple:
  """Of the main block."""
  return MAIN, '', arm, size


def words(study: Study, name: str) -> str:
  """Of an input or of a baseline, see `Study.baselines`."""
  name, _, arm = name.partition(':')
  found = baselines.WORDS.get(name) or study.label(name)
  return f'{found}, {study.label(arm)}' if arm else found


def error_word(study: Study) -> str:
  """MAE or RMSE."""
  return study.metric.upper()


def findings(study: Study) -> Section:
  """Verdicts on the plan's hypotheses."""
  findings = []
  for judged in study.judge():
    whole = judged['']
    findings.append(
      Finding(
        whole.hypothesis.name,
        whole.word,
        _where(study, whole) + _mixed(study, judged),
        whole.hypothesis.words,
        _target_lines(study, judged),
        _comparisons(study, judged),
      )
    )
  text = (
    'A hypothesis is supported when every primary target supports it, '
    'contradicted when one contradicts it, and undecided when the data do '
    f'not say. Primary: {", ".join(study.primary)}. Negative differences: the '
    'first one has the lower error.'
  )
  return Section('Verdicts', (text, *findings) if findings else ())


def _where(study, verdict) -> str:
  sizes = verdicts.sizes_read(verdict.hypothesis, study.sizes())
  if not sizes:
    return '(the study has no such sizes)'
  text = f'at n = {", ".join(size_word(s) for s in sizes)}'
  if any(e.found is None for e in verdict.evidence):
    return f'{text} (comparisons are missing)'
  lacking = {e.lacking for e in verdict.evidence if e.lacking}
  return (
    f'{text} (provisional: {", ".join(sorted(lacking))})' if (lacking) else text
  )


def _mixed(study, judged) -> str:
  """How many targets say what, where they contradict each other."""
  words = [judged[target].word for target in study.primary]
  if not {'supported', 'contradicted'} <= set(words):
    return ''
  return (
    f' (mixed: {words.count("supported")} of {len(words)} targets support it, '
    f'{words.count("contradicted")} contradict it)'
  )


def _target_lines(study, judged) -> tuple[str, ...]:
  """The verdict of each target, with its comparison where it rests on one."""
  reasons = {judged[t].reason for t in study.primary}
  if len(reasons) == 1 and '' not in reasons:
    return (f'{", ".join(study.primary)}: undecided, {reasons.pop()}.',)
  lines = []
  for target in study.primary:
    verdict = judged[target]
    text = f'{target}: {verdict.word}'
    if verdict.reason:
      lines.append(f'{text}, {verdict.reason}.')
      continue
    if len(verdict.evidence) == 1:
      only = verdict.evidence[0]
      text += f'. {_pair_word(study, only.claim)}: '
      text += _difference_word(study, only, target)
    lines.append(f'{text} ({_p_word(verdict)}).')
  return tuple(lines)


def _p_word(verdict) -> str:
  p, what = verdict.p_support, 'for'
  if verdict.word == 'contradicted' or verdict.p_contradict < p:
    p, what = verdict.p_contradict, 'against'
  value = '< 0.001' if p < 0.001 else f'= {p:.3f}'
  return f'adjusted p {what} it {value}'


def _pair_word(study, claim) -> str:
  return f'{study.label(claim.a)} minus {study.label(claim.b)}'


def _difference_word(study, evidence, target) -> str:
  """Value, unit, interval, margin, and what they rest on."""
  unit, _ = study.unit(target)
  kind, found = evidence.claim.kind, evidence.found
  level = 0.9 if kind == 'equivalent' else 0.95
  value = spread(found.value, *found.interval(level), signed=True)
  value = value.replace(' (', f' {unit}, {level:.0%} interval ', 1)[:-1]
  margin = study.plan.get('margins', {}).get(target)
  named = ''
  if kind != 'less' and margin is not None:
    named = f', margin {margin:g} {unit}'
  return f'{value}{named}; {_data_words(found)}'


def _comparisons(study, judged) -> Table | None:
  """Every difference that a verdict rests on, where there are several."""
  if len(judged[study.primary[0]].evidence) < 2:
    return None
  rows = [
    (
      target, _pair_word(study, e.claim), size_word(e.size),
      e.lacking if e.found is None else _difference_word(study, e, target),
    )
    for target in study.primary
    for e in judged[target].evidence
  ]  # fmt: skip
  return Table(
    f'Differences in {error_word(study)} that the verdict rests on',
    ('target', 'inputs', 'n', 'difference'),
    tuple(rows),
  )


def _data_words(found: paired.Difference) -> str:
  tests = f'{found.examples} test examples'
  if found.units < found.examples:
    tests += f' in {found.units} clusters'
  return f'{found.seeds} seeds, {tests}'


def winners(study: Study) -> Section:
  """Which input has the lowest error at the largest size, and how sure."""
  lines = []
  size = _largest(study)
  if size is None:
    return Section('', ())
  for target in study.targets:
    line = _winner(study, target, size)
    if line:
      lines.append(line)
  text = (
    f'At n = {size_word(size)}, {error_word(study)} with paired differences '
    'and their 95 % intervals, without a correction for the number of pairs '
    f'(nothing is told apart by fewer than {verdicts.MIN_SEEDS} seeds); the '
    'lowest of several means flatters itself. The verdicts are what was '
    'asked beforehand.'
  )
  parts = (text, Listing(tuple(lines))) if lines else ()
  return Section('Which input is ahead', parts)


def _winner(study, target, size):
  unit, _ = study.unit(target)
  means = _common_means(study, target, size)
  if not means:
    return None
  best = min(means, key=means.get)
  close, behind = [], []
  for arm in sorted(means, key=means.get):
    if arm == best:
      continue
    found, _ = study.difference(
      point_of(arm, size), point_of(best, size), target
    )
    if found is None:
      close.append(f'{study.label(arm)} (no interval)')
      continue
    low, high = found.interval()
    text = f'{study.label(arm)} {spread(found.value, low, high, signed=True)}'
    sure = low > 0 and found.seeds >= verdicts.MIN_SEEDS
    (behind if sure else close).append(text)
  text = f'{target}: {study.label(best)}, {number(means[best])} {unit}.'
  if close:
    text += f' Not told apart from it: {", ".join(close)}.'
  if behind:
    text += f' Behind it: {", ".join(behind)}.'
  return text


def _common_means(study, target, size) -> dict[str, float]:
  """Errors of all inputs over the seeds that every one of them has."""
  scores = {}
  for arm in study.arms():
    try:
      score = study.score(point_of(arm, size), target)
    except run_table.PairingError:  # named under 'What is missing'
      continue
    if score is not None:
      scores[arm] = dict(zip(score.seeds, score.value_S, strict=True))
  if not scores:
    return {}
  common = set.intersection(*map(set, scores.values()))
  if not common:
    return {}
  return {
    arm: float(np.mean([values[s] for s in common]))
    for arm, values in scores.items()
  }


def overview(study: Study) -> Section:
  """All inputs and baselines on the primary targets at the largest size."""
  size = _largest(study)
  if size is None:
    return Section('', ())
  rows = [
    (words(study, arm), *(
      mean_word(study.mean(point_of(arm, size), t)) for t in study.primary
    ))
    for arm in study.arms()
  ] + [
    (words(study, name), *(
      mean_word(study.baseline(name, size, t)) for t in study.primary
    ))
    for name in study.baselines()
  ]  # fmt: skip
  error = error_word(study)
  heads = (f'{t} ({study.unit(t)[0]})' for t in study.primary)
  table = Table(
    f'{error}, mean (95 % t interval over seeds; their number)',
    ('input', *heads),
    tuple(rows),
  )
  title = f'{error} at n = {size_word(size)}'
  picture = Overview(
    'overview',
    f'Learning curves of {", ".join(study.primary)}; the tables below have all '
    'numbers.',
    tuple(f'curve_{t}' for t in study.primary),
  )
  return Section(title, (table, picture))


def _largest(study):
  """The largest size of which something is finished; None where nothing is."""
  sizes = [
    s
    for s in study.sizes()
    if any(
      study.mean(point_of(a, s), study.primary[0]).seeds for a in study.arms()
    )
  ]
  return sizes[-1] if sizes else None


def curves(study: Study) -> Section:
  """Learning curves of inputs, baselines and controls, and their tables."""
  parts = []
  for target in study.targets:
    lines = [
      (words(study, a), style(a), [study.mean(point_of(a, s), target)
                                    for s in study.sizes()])
      for a in study.arms()
    ]  # fmt: skip
    inputs = len(lines)
    lines += [
      (words(study, b), style(b, i), [study.baseline(b, s, target)
                                       for s in study.sizes()])
      for i, b in enumerate(study.baselines())
      # The mean is best in RMSE, the median in MAE.
      if b != {'mae': 'mean', 'rmse': 'median'}[study.metric]
    ]  # fmt: skip
    lines += _control_lines(study, target)
    if any(m.seeds for _, _, means in lines[:inputs] for m in means):
      parts += _curve(study, target, lines)
  if parts:
    parts[:0] = _overlap(study)
  return Section('Learning curves', tuple(parts))


def _overlap(study) -> list[str]:
  """Says where the subsets of two seeds are mostly the same."""
  shares = {}
  for run in study.done(MAIN):
    pool = run.results.get('pool')
    if pool and run.size > 0.5 * pool:
      shares[run.size] = max(shares.get(run.size, 0), run.size / pool)
  if not shares:
    return []
  each = ', '.join(
    f'{share:.0%} at n = {size_word(size)}'
    for size, share in sorted(shares.items())
  )
  return [
    'Subsets are drawn from what the split leaves for training: two of one '
    f'size share {each}. There the seeds differ in their initialisation more '
    'than in their data, and intervals say little about other training sets.'
  ]


def _control_lines(study, target):
  """Control inputs, at the size that they have."""
  arms = [a for a in study.arms('controls') if a not in study.arms()]
  points = {p[2:]: p for p in study.points('controls') if p[2] in arms}
  nothing = run_table.mean_of([])
  return [
    (
      f'{words(study, arm)} (control)', style(arm),
      [
        study.mean(points[arm, s], target) if (arm, s) in points else nothing
        for s in study.sizes()
      ],
    )
    for arm in arms
  ]  # fmt: skip


def _curve(study, target, lines):
  unit, _ = study.unit(target)
  sizes = study.sizes()
  series, rows = [], []
  for label, look, means in lines:
    there = [(s, m) for s, m in zip(sizes, means, strict=True) if m.seeds]
    if there:
      series.append(
        Series(
          label, look, [s for s, _ in there], [m.value for _, m in there],
          [m.low for _, m in there], [m.high for _, m in there],
        )
      )  # fmt: skip
    rows.append(
      (label, *(mean_word(m) for m in means), _slope(there))
    )  # fmt: skip
  error = error_word(study)
  ends = '; '.join(
    f'{s.label} {number(s.y[0])} to {number(s.y[-1])}' for s in series
  )
  return [
    Figure(
      f'curve_{target}',
      f'{target}: {error} on test against labels used, mean and 95 % interval '
      'over seeds (points of one size stand side by side)',
      f'Learning curves of {target}, {error} in {unit} from n = '
      f'{size_word(sizes[0])} to {size_word(sizes[-1])}: {ends}. The table '
      'below has all numbers.',
      'labels used (training and validation)',
      f'{error} ({unit})',
      tuple(series),
      log_x=True,
      log_y=True,
      ticks=tuple(sizes),
    ),
    Table(
      f'{target}: {error} ({unit}), mean (95 % t interval over seeds; their '
      'number)',
      ('input', *(f'n = {size_word(s)}' for s in sizes), 'exponent of n'),
      tuple(rows),
    ),
  ]


def mean_word(mean: run_table.Mean) -> str:
  """Mean, interval, number of seeds."""
  if not mean.seeds:
    return '-'
  text = spread(mean.value, mean.low, mean.high)
  return f'{text[:-1]}; {mean.seeds})' if '(' in text else f'{text} (1)'


def _slope(there) -> str:
  """Exponent a of the least squares fit error = c n^a, in logarithms."""
  pairs = [(s, m.value) for s, m in there if m.value > 0]
  if len(pairs) < 2:
    return '-'
  x, y = np.log(pairs).T
  return f'{np.polyfit(x, y, 1)[0]:.2f}'.replace('-', '−')


def differences(study: Study) -> Section:
  """Paired differences of all inputs to one of them, by size."""
  reference = reference_arm(study)
  others = [a for a in study.arms() if a != reference]
  parts = []
  for target in study.targets:
    unit, _ = study.unit(target)
    series, rows = [], []
    for arm in others:
      found = {
        s: study.difference(point_of(arm, s), point_of(reference, s), target)
        for s in study.sizes()
      }
      there = {s: d for s, (d, _) in found.items() if d is not None}
      ends = [d.interval() for d in there.values()]
      if there:
        series.append(
          Series(
            study.label(arm), style(arm), list(there),
            [d.value for d in there.values()],
            [low for low, _ in ends], [high for _, high in ends],
          )
        )  # fmt: skip
      rows.append(
        (
          study.label(arm),
          *(
            '-' if d is None
            else spread(d.value, *d.interval(), signed=True)
            for d, _ in found.values()
          ),
        )
      )  # fmt: skip
    if not series:
      continue
    word, error = study.label(reference), error_word(study)
    parts += [
      Figure(
        f'difference_{target}',
        f'{target}: {error} minus that of {word}, paired, with 95 % intervals '
        'over seeds and test examples; below zero is better',
        f'Paired differences in {error} of {target} to {word} against labels '
        'used. The table below has all numbers.',
        'labels used (training and validation)',
        f'difference ({unit})',
        tuple(series),
        log_x=True,
        ticks=tuple(study.sizes()),
        zero=True,
      ),
      Table(
        f'{target}: {error} minus that of {word} ({unit}), 95 % interval',
        ('input', *(f'n = {size_word(s)}' for s in study.sizes())),
        tuple(rows),
      ),
    ]
  return Section(f'Differences to {study.label(reference)}', tuple(parts))


def crossovers(study: Study) -> Section:
  """Where inputs overtake the reference, and density."""
  reference = reference_arm(study)
  arms = study.arms()
  pairs = [(a, reference) for a in arms if a != reference]
  if reference != 'density' and 'density' in arms:
    pairs += [(a, 'density') for a in arms if a not in (reference, 'density')]
  rows = []
  for a, b in pairs:
    cells = [_crossover_word(study, a, b, t) for t in study.targets]
    if any(c != '-' for c in cells):
      rows.append((f'{study.label(a)}, {study.label(b)}', *cells))
  text = (
    'The last change of sign of the mean difference, interpolated in log n, '
    'with the 95 % bootstrap interval over seeds (the test examples stay the '
    'same). “None seen” names the one whose mean is ahead at every size, '
    'however little; the differences above say how sure that is. An interval '
    'that reaches beyond the sizes says that there may be no such number.'
  )
  table = Table(
    'Labels from which on one overtakes the other',
    ('inputs', *study.targets),
    tuple(rows),
  )
  return Section(
    'Where one input overtakes another', (text, table) if rows else ()
  )


def _crossover_word(study, a, b, target) -> str:
  found = study.crossover(a, b, target)
  if found is None:
    return '-'
  ahead = study.label(a if found.ahead == 'a' else b)
  if found.size is None:
    return f'none seen ({ahead} ahead)'
  sizes = study.sizes()
  low = size_word(round(found.low)) if found.low else f'< {size_word(sizes[0])}'
  high = (
    size_word(round(found.high)) if math.isfinite(found.high)
    else f'> {size_word(sizes[-1])}'
  )  # fmt: skip
  return f'{ahead} from {size_word(round(found.size))} ({low} to {high})'
