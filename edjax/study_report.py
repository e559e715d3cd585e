"""What a study found: verdicts, curves, tables; whatever is there of it."""

import collections
import importlib.util
import json
import math
import os
import pathlib

import numpy as np

from edjax import baselines, study_html, study_table, verdicts
from edjax.study_document import (
  Document,
  Figure,
  Finding,
  Listing,
  Section,
  Series,
  Table,
  draw,
  markdown,
  number,
  size_word,
  spread,
  style,
)
from edjax.study_table import MAIN, Study

# Differences are taken to the first of these that the study has.
_REFERENCES = ('atoms', 'density')
# Points of an interactive parity plot, an input.
_PARITY = 400
_BLOCKS = {
  'stopping': 'Stopped early, best weights on validation',
  'delta': 'Learning the residual of a ridge regression',
  'spacing': 'Spacing, blur and box',
  'noise': 'Noise on coordinates',
  'size_split': 'Tested on larger molecules than trained on',
  'geometry': 'Geometries relaxed with GFN2-xTB',
  'controls': 'Controls',
}


def write(directory) -> str:
  """Writes study.csv, summary.csv, report.md, report.html and figures/.

  At any time: on what is finished, with what is not counted and named.

  Args:
    directory: of a study.

  Returns:
    A few lines: progress, verdicts, where the report is.

  Raises:
    FileNotFoundError: there is no plan.json.
    ValueError: its format is unknown.
  """
  study = Study(directory)
  path = study.path
  study_table.write_csv(path / 'study.csv', *study_table.run_rows(study))
  rows = study_table.summary_rows(study, _reference(study))
  study_table.write_csv(path / 'summary.csv', *rows)
  document = build(study)
  for figure in document.figures():
    draw(figure, path / 'figures' / f'{figure.name}.png')
  _replace(path / 'report.md', markdown(document))
  where = path / 'report.md'
  # Hours of runs do not end in an error of the last minute.
  if importlib.util.find_spec('plotly'):
    where = path / 'report.html'
    _replace(where, study_html.page(document))
  else:
    where = f'{where} (for report.html: pip install "edjax[report]")'
  findings = [
    f'{f.name}: {f.word} {f.where}'
    for s in document.sections
    for f in s.parts
    if isinstance(f, Finding)
  ]
  return '\n'.join([_progress(study), *findings, f'report: {where}'])


def _replace(path: pathlib.Path, text: str) -> None:
  """At once: others may be looking."""
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  temporary.write_text(text, encoding='utf-8')
  temporary.replace(path)


def build(study: Study) -> Document:
  """The report of a study.

  Args:
    study: read from its directory.
  """
  sections = [_verdicts(study), _winners(study)]
  sections += [_curves(study), _differences(study), _crossovers(study)]
  sections += [_block(study, block) for block in _BLOCKS]
  sections += [
    _parity(study), _rotations(study), _costs(study), _tuned(study),
    _machines(study), _unfinished(study), _methods(study),
  ]  # fmt: skip
  kept = tuple(s for s in sections if s.parts)
  lead = [_progress(study)]
  if not study.done():
    lead.append('No run is finished yet; there is nothing to compare.')
  return Document(study.plan['title'], tuple(lead), kept)


def _progress(study: Study) -> str:
  counts = {
    status: study.count(status)
    for status in (
      study_table.DONE, study_table.FAILED, study_table.BEGUN,
      study_table.LEFT,
    )
  }  # fmt: skip
  text = (
    f'{counts["done"]} of {len(study.runs)} runs are done, '
    f'{counts["failed"]} failed, {counts["begun"]} begun, '
    f'{counts["left"]} left.'
  )
  if study.incomplete:
    text += (
      f' Replicates that lack folds, and are left out so far: '
      f'{study.incomplete}.'
    )
  return text


def _reference(study: Study) -> str:
  arms = study.arms()
  return next((a for a in _REFERENCES if a in arms), arms[0] if arms else '')


def _point(arm: str, size) -> tuple:
  return MAIN, '', arm, size


def _words(study: Study, name: str) -> str:
  """Of an input or of a baseline."""
  return baselines.WORDS.get(name) or study.label(name)


def _error_word(study: Study) -> str:
  return study.metric.upper()


def _verdicts(study: Study) -> Section:
  findings = []
  for judged in study.judge():
    whole = judged['']
    findings.append(
      Finding(
        whole.hypothesis.name,
        whole.word,
        _where(study, whole),
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
    f'Differences in {_error_word(study)} that the verdict rests on',
    ('target', 'inputs', 'n', 'difference'),
    tuple(rows),
  )


def _data_words(found: verdicts.Difference) -> str:
  tests = f'{found.examples} test examples'
  if found.units < found.examples:
    tests += f' in {found.units} clusters'
  return f'{found.seeds} seeds, {tests}'


def _winners(study: Study) -> Section:
  """Which input has the lowest error at the largest size, and how sure."""
  lines = []
  sizes = [
    s
    for s in study.sizes()
    if any(study.mean(_point(a, s), study.primary[0]).seeds for a in
           study.arms())
  ]  # fmt: skip
  if not sizes:
    return Section('', ())
  size = sizes[-1]
  for target in study.targets:
    line = _winner(study, target, size)
    if line:
      lines.append(line)
  text = (
    f'At n = {size_word(size)}, {_error_word(study)} with paired differences '
    'and their 95 % intervals, without a correction for the number of pairs '
    f'(nothing is told apart by fewer than {verdicts.MIN_SEEDS} seeds); the '
    'lowest of several means flatters itself. The verdicts are what was '
    'asked beforehand.'
  )
  parts = (text, Listing(tuple(lines))) if lines else ()
  return Section('Which input is ahead', parts)


def _winner(study, target, size):
  unit, _ = study.unit(target)
  means = {a: study.mean(_point(a, size), target) for a in study.arms()}
  means = {a: m for a, m in means.items() if m.seeds}
  if not means:
    return None
  best = min(means, key=lambda a: means[a].value)
  close, behind = [], []
  for arm in sorted(means, key=lambda a: means[a].value):
    if arm == best:
      continue
    found, _ = study.difference(_point(arm, size), _point(best, size), target)
    if found is None:
      close.append(f'{study.label(arm)} (no interval)')
      continue
    low, high = found.interval()
    text = f'{study.label(arm)} {spread(found.value, low, high, signed=True)}'
    sure = low > 0 and found.seeds >= verdicts.MIN_SEEDS
    (behind if sure else close).append(text)
  text = f'{target}: {study.label(best)}, {number(means[best].value)} {unit}.'
  if close:
    text += f' Not told apart from it: {", ".join(close)}.'
  if behind:
    text += f' Behind it: {", ".join(behind)}.'
  return text


def _curves(study: Study) -> Section:
  parts = []
  for target in study.targets:
    lines = [
      (_words(study, a), style(a), [study.mean(_point(a, s), target)
                                    for s in study.sizes()])
      for a in study.arms()
    ]  # fmt: skip
    inputs = len(lines)
    lines += [
      (_words(study, b), style(b, i), [study.baseline(b, s, target)
                                       for s in study.sizes()])
      for i, b in enumerate(study.baselines())
      # The mean is best in RMSE, the median in MAE.
      if b != {'mae': 'mean', 'rmse': 'median'}[study.metric]
    ]  # fmt: skip
    lines += _control_lines(study, target)
    if any(m.seeds for _, _, means in lines[:inputs] for m in means):
      parts += _curve(study, target, lines)
  return Section('Learning curves', tuple(parts))


def _control_lines(study, target):
  """Control inputs, at the size that they have."""
  arms = [a for a in study.arms('controls') if a not in study.arms()]
  points = {p[2:]: p for p in study.points('controls') if p[2] in arms}
  nothing = study_table.mean_of([])
  return [
    (
      f'{_words(study, arm)} (control)', style(arm),
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
      (label, *(_mean_word(m) for m in means), _slope(there))
    )  # fmt: skip
  error = _error_word(study)
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


def _mean_word(mean) -> str:
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


def _differences(study: Study) -> Section:
  reference = _reference(study)
  others = [a for a in study.arms() if a != reference]
  parts = []
  for target in study.targets:
    unit, _ = study.unit(target)
    series, rows = [], []
    for arm in others:
      found = {
        s: study.difference(_point(arm, s), _point(reference, s), target)
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
    word, error = study.label(reference), _error_word(study)
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


def _crossovers(study: Study) -> Section:
  reference = _reference(study)
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
    'with the 95 % bootstrap interval over seeds. “None seen” names the one '
    'that is ahead at every size; a wide interval says that the order of the '
    'means is not certain.'
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


def _block(study: Study, block: str) -> Section:
  """A further block beside the main one at the same size."""
  points = study.points(block)
  parts = []
  for target in study.targets:
    rows = []
    for point in points:
      main, named = _main_point(study, point)
      mean, at_main = study.mean(point, target), study.mean(main, target)
      found, why = study.difference(point, main, target)
      difference = '-'
      if found is not None:
        difference = spread(found.value, *found.interval(), signed=True)
      elif at_main.seeds and 'other examples' in why:
        difference = 'other test examples'
      rows.append(
        (
          point[1] + named, _words(study, point[2]),
          size_word(point[3]), _mean_word(mean), _mean_word(at_main),
          difference,
        )
      )  # fmt: skip
    if not rows:
      continue
    if block == 'controls':
      rows += _baseline_rows(study, points, target)
    unit, _ = study.unit(target)
    parts.append(
      Table(
        f'{target}: {_error_word(study)} ({unit}), mean (95 % interval over '
        'seeds; their number), and the paired difference to the main block',
        ('setting', 'input', 'n', 'here', 'main block', 'difference'),
        tuple(rows),
      )
    )
  return Section(_BLOCKS[block], tuple(parts))


def _main_point(study, point):
  """What a further block is compared with, and that in words if need be."""
  arm, size = point[2:]
  if arm in study.arms():
    return _point(arm, size), ''
  other = 'density' if 'density' in study.arms() else _reference(study)
  return _point(other, size), f', against {study.label(other)}'


def _baseline_rows(study, points, target):
  """Baselines at the sizes of the controls."""
  return [
    (
      'baseline', _words(study, name), size_word(size), '-',
      _mean_word(study.baseline(name, size, target)), '-',
    )
    for size in sorted({p[3] for p in points})
    for name in study.baselines()
  ]  # fmt: skip


def _parity(study: Study) -> Section:
  """One run of each input at its largest size."""
  parts = []
  for target in study.targets:
    unit, factor = study.unit(target)
    series = []
    for arm in study.arms():
      found = _one_run(study, arm, target)
      if found is None:
        continue
      size, truth_N, prediction_N = found
      # Evenly spaced ids: no random choice.
      step = max(1, -(-len(truth_N) // _PARITY))
      series.append(
        Series(
          f'{study.label(arm)}, n = {size_word(size)}', style(arm),
          np.round(truth_N[::step] * factor, 5).tolist(),
          np.round(prediction_N[::step] * factor, 5).tolist(),
          hidden=bool(series),
        )
      )  # fmt: skip
    if series:
      parts.append(
        Figure(
          f'parity_{target}',
          f'{target}: predicted against true values, one run each (its first '
          f'seed, at most {_PARITY} test examples)',
          f'Predicted against true values of {target} for '
          f'{", ".join(s.label for s in series)}; closer to the diagonal is '
          'better.',
          f'true ({unit})',
          f'predicted ({unit})',
          tuple(series),
          parity=True,
        )
      )
  if parts:
    parts.insert(
      0, 'In the interactive report the legend switches inputs on and off.'
    )
  return Section('Parity', tuple(parts))


def _one_run(study, arm, target):
  for size in reversed(study.sizes()):
    try:
      found = study.predictions(_point(arm, size), target)
    except study_table.PairingError:
      continue
    if found is not None:
      _, _, _, truth_N, prediction_SN, _ = found
      return size, truth_N, prediction_SN[0]
  return None


def _rotations(study: Study) -> Section:
  values = collections.defaultdict(list)
  for run in study.done(MAIN):
    for target, entry in run.results['targets'].items():
      value = entry.get('rotation_spread')
      if value is not None:
        values[run.arm, run.size, target].append(value)
  if not values:
    return Section('', ())
  rows = [
    (
      _words(study, arm),
      size_word(size),
      *(
        number(float(np.mean(values[arm, size, t])))
        if values[arm, size, t] else '-'
        for t in study.targets
      ),
    )
    for arm in study.arms()
    for size in study.sizes()
    if any((arm, size, t) in values for t in study.targets)
  ]  # fmt: skip
  return Section(
    'Spread over rotations',
    (
      Table(
        'Standard deviation of a test example’s predictions over rotations, '
        'mean over examples and runs: what a network knows no better than the '
        'orientation',
        ('input', 'n', *(f'{t} ({study.unit(t)[0]})' for t in study.targets)),
        tuple(rows),
      ),
    ),
  )


def _costs(study: Study) -> Section:
  seconds = collections.defaultdict(lambda: collections.defaultdict(list))
  for run in study.done(MAIN):
    for kind, value in study_table.cost(run).items():
      seconds[run.arm, run.size][kind].append(value)
  if not seconds:
    return Section('', ())

  def mean(arm, size, kind):
    values = seconds[arm, size][kind]
    return float(np.mean(values)) if values else None

  rows = [
    (
      _words(study, arm), size_word(size), number(mean(arm, size, 'xtb')),
      number(mean(arm, size, 'training')), number(mean(arm, size, 'voxels')),
      number(mean(arm, size, 'total')), number(mean(arm, size, 'run')),
    )
    for arm in study.arms() for size in study.sizes()
    if (arm, size) in seconds
  ]  # fmt: skip
  parts = [
    'In all: GFN2-xTB of the labels’ molecules, for inputs that need it, and '
    'all training steps, in which voxels are made anew. Seconds of the '
    'machines below: of one core for xTB, and runs side by side take longer '
    'than alone.',
    Table(
      'Seconds a run, mean over seeds (and folds)',
      (
        'input',
        'n',
        'xTB',
        'training',
        'of it voxels',
        'in all',
        'by the clock',
      ),
      tuple(rows),
    ),
  ]
  for target in study.targets:
    figure = _cost_figure(study, target, mean)
    if figure.series:
      parts.append(figure)
  return Section('Cost', tuple(parts))


def _cost_figure(study, target, mean_cost) -> Figure:
  unit, _ = study.unit(target)
  series = []
  for arm in study.arms():
    points = []
    for size in study.sizes():
      error = study.mean(_point(arm, size), target)
      total = mean_cost(arm, size, 'total')
      if error.seeds and total:
        points.append((total, error))
    if points:
      points.sort(key=lambda p: p[0])
      series.append(
        Series(
          study.label(arm), style(arm), [t for t, _ in points],
          [e.value for _, e in points], [e.low for _, e in points],
          [e.high for _, e in points],
        )
      )  # fmt: skip
  error = _error_word(study)
  return Figure(
    f'cost_{target}',
    f'{target}: {error} against seconds in all (xTB, and training with its '
    'voxels)',
    f'{error} of {target} against total computing time of each input; the '
    'tables have the numbers.',
    'seconds in all',
    f'{error} ({unit})',
    tuple(series),
    log_x=True,
    log_y=True,
  )


def _tuned(study: Study) -> Section:
  path = study.path / 'tuned.json'
  if not path.exists():
    return Section('', ())
  tuned = json.loads(path.read_text(encoding='utf-8'))
  rows = [
    (key, ', '.join(f'{k} = {v}' for k, v in fields.items()))
    for key, fields in tuned.get('chosen', {}).items()
    if fields
  ]
  table = Table(
    'Chosen on validation at one size, as many trials each, then frozen',
    ('input (and fold)', 'fields'),
    tuple(rows),
  )
  return Section('Tuning', (table,) if rows else ())


def _machines(study: Study) -> Section:
  kinds = collections.Counter()
  versions = collections.defaultdict(set)
  for run in study.done():
    f = run.facts
    kinds[
      f'{f.get("machine", "?")}, {f.get("device_count", "?")} × '
      f'{f.get("device", "?")}, {f.get("cpu_count", "?")} of '
      f'{f.get("cpu_total", "?")} cores, Python {f.get("python", "?")}'
    ] += 1
    for name, version in f.get('versions', {}).items():
      versions[name].add(version)
  if not kinds:
    return Section('', ())
  hours = sum(r.results.get('seconds') or 0 for r in study.done()) / 3600
  libraries = ', '.join(
    f'{name} {" and ".join(sorted(v))}' for name, v in versions.items()
  )
  return Section(
    'Machines, versions and run times',
    (
      Table(
        'Finished runs by machine',
        ('machine', 'runs'),
        tuple((k, str(n)) for k, n in kinds.most_common()),
      ),
      f'Libraries: {libraries}.',
      f'All finished runs took {number(hours)} hours of a process.',
    ),
  )


def _unfinished(study: Study) -> Section:
  parts = []
  failed = [r for r in study.runs if r.status == study_table.FAILED]
  if failed:
    rows = [(r.name, r.error.strip().splitlines()[-1] if r.error.strip()
             else 'no message') for r in failed]  # fmt: skip
    parts.append(Table('Failed runs', ('run', 'error'), tuple(rows)))
  groups = collections.Counter(
    (r.block, r.arm, r.size)
    for r in study.runs
    if r.status in (study_table.LEFT, study_table.BEGUN)
  )
  if groups:
    rows = [(b, _words(study, a), size_word(s), str(n))
            for (b, a, s), n in groups.items()]  # fmt: skip
    parts.append(
      Table('Runs to come', ('block', 'input', 'n', 'runs'), tuple(rows))
    )
  refused = _refused(study)
  if refused:
    parts.append(
      Table('Not compared', ('what', 'why'), tuple(sorted(refused.items())))
    )
  return Section('What is missing', tuple(parts))


def _refused(study) -> dict[str, str]:
  """Points whose runs cannot be paired."""
  refused = {}
  for block in dict.fromkeys(r.block for r in study.runs):
    for point in study.points(block):
      for target in study.targets:
        try:
          study.score(point, target)
        except study_table.PairingError as error:
          name = f'{block}: {study.label(point[2])} at n = {point[3]:g}'
          refused[name] = str(error)
  return refused


def _methods(study: Study) -> Section:
  margins = study.plan.get('margins') or {}
  named = ', '.join(
    f'{m:g} {study.unit(t)[0]} ({t})' for t, m in margins.items()
  )
  return Section(
    'How the numbers are made',
    (
      'A run at size n uses n labels in all, validation included. A difference '
      'is the mean over training subsets of paired differences on the same '
      'test examples. Its interval is Student’s t with the variance over '
      'subsets plus that over test examples (whole clusters of related ones), '
      'from a bootstrap, with Satterthwaite’s degrees of freedom.',
      f'Verdicts: level {verdicts.ALPHA:g}, Holm’s correction over the primary '
      'targets; equivalence by two one-sided tests'
      + (f' with margins {named}.' if named else ' (no margin is named here).'),
      'Intervals of single curves are over seeds alone and say nothing of '
      'other test examples; compare inputs by the paired differences.',
    ),
  )
