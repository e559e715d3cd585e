"""Sections of a study's report on runs, machines and methods."""

import collections

from edjax.evaluate import paired
from edjax.study.pairing import PairingError
from edjax.study.report import markdown
from edjax.study.report.numbers import number, size_word
from edjax.study.results import BEGUN, DONE, FAILED, LEFT, Study
from edjax.study.statistics import Statistics


def progress(statistics: Statistics) -> str:
  """Returns how many runs are done, failed, begun and left."""
  runs = statistics.study.runs
  counts = collections.Counter(run.status for run in runs)
  text = (
    f'{counts[DONE]} of {len(runs)} runs are done, {counts[FAILED]} failed, '
    f'{counts[BEGUN]} begun, {counts[LEFT]} left.'
  )
  if statistics.incomplete:
    text += (
      f' Replicates that lack folds, and are left out so far: '
      f'{statistics.incomplete}.'
    )
  return text


def tuning(study: Study) -> list:
  """Returns the section on the choices of the trials."""
  rows = [
    (key, ', '.join(f'{k} = {v}' for k, v in fields.items()))
    for key, fields in study.tuned.get('chosen', {}).items()
    if fields
  ]
  table = markdown.table(
    'Chosen on validation at one size, with equally many trials, then frozen',
    ('input (and fold)', 'fields'),
    rows,
  )
  return markdown.section('Tuning', table, *at_the_edge(study.tuned))


def at_the_edge(tuned: dict) -> list[str]:
  """Returns a warning if a chosen rate is the lowest or highest offered."""
  rates = sorted(set(tuned.get('learning_rates', ())))
  if len(rates) < 2:
    return []
  edge = [
    key
    for key, fields in tuned['chosen'].items()
    if fields.get('optim.learning_rate') in (rates[0], rates[-1])
  ]
  if not edge:
    return []
  offered = ', '.join(f'{rate:g}' for rate in rates)
  return [
    f'The learning rate chosen for {", ".join(edge)} is the lowest or the '
    f'highest of those offered ({offered}); a better one may lie beyond.'
  ]


def machines(study: Study) -> list:
  """Returns the section on the machines of finished runs, and their hours."""
  kinds = collections.Counter()
  versions = collections.defaultdict(set)
  for run in study.done():
    facts = collections.defaultdict(lambda: '?', run.facts)
    kinds[
      '{machine}, {device_count} × {device}, {cpu_count} of {cpu_total} cores, '
      'Python {python}'.format_map(facts)
    ] += 1
    for name, version in run.facts.get('versions', {}).items():
      versions[name].add(version)
  if not kinds:
    return []
  seconds = sum(run.results.get('seconds') or 0 for run in study.done())
  libraries = ', '.join(
    f'{name} {" and ".join(sorted(v))}' for name, v in versions.items()
  )
  return markdown.section(
    'Machines, versions and run times',
    markdown.table(
      'Finished runs by machine',
      ('machine', 'runs'),
      [(kind, str(count)) for kind, count in kinds.most_common()],
    ),
    markdown.escape(f'Libraries: {libraries}.'),
    f'All finished runs took {number(seconds / 3600)} hours of a process.',
  )


def missing(statistics: Statistics) -> list:
  """Returns the section on failed and coming runs, and on pairing errors."""
  study = statistics.study
  failed = [
    (run.name, run.last_error or 'no message')
    for run in study.runs
    if run.status == FAILED
  ]
  counts = collections.Counter(
    (run.point.ablation, run.point.representation, run.point.size)
    for run in study.runs
    if run.status in (LEFT, BEGUN)
  )
  left = [
    (ablation, study.label(name), size_word(size), str(count))
    for (ablation, name, size), count in counts.items()
  ]
  refused = sorted(_refused(statistics).items())
  tables = (
    markdown.table('Failed runs', ('run', 'error'), failed),
    markdown.table('Runs to come', ('ablation', 'input', 'n', 'runs'), left),
    markdown.table('Not compared', ('what', 'why'), refused),
  )
  return markdown.section('What is missing', *filter(None, tables))


def _refused(statistics) -> dict[str, str]:
  """Returns the points whose runs cannot be paired, with the reasons."""
  study, refused = statistics.study, {}
  for point in study.points():
    for target in study.targets:
      try:
        statistics.score(point, target)
      except PairingError as error:
        label = f'{study.label(point.representation)} at n = {point.size:g}'
        refused[f'{point.ablation}: {label}'] = str(error)
  return refused


def methods(study: Study) -> list:
  """Returns the section on how the numbers are made."""
  margins = ', '.join(
    f'{margin:g}{f" {study.unit(target)}".rstrip()} ({target})'
    for target, margin in study.margins.items()
  )
  named = f'with margins {margins}' if margins else '(no margin is named here)'
  return markdown.section(
    'How the numbers are made',
    *_growth(study),
    'A run at size n uses n labels in all, validation included. A difference '
    'is the mean over training subsets of paired differences on the same '
    'test examples. Its interval is Student’s t with the variance over '
    'subsets plus that over test examples (whole clusters of related ones), '
    'from a bootstrap, with Satterthwaite’s degrees of freedom.',
    f'Verdicts: level {paired.ALPHA:g}, Holm’s correction over the primary '
    f'targets; equivalence by two one-sided tests {named}.',
    'Intervals of single curves are over seeds alone and say nothing of '
    'other test examples; compare inputs by the paired differences.',
  )


def _growth(study: Study) -> list[str]:
  """Returns a warning if runs were added to the plan after first results."""
  late = [h for h in study.plan.get('history', ()) if h['finished']]
  if not late:
    return []
  each = '; '.join(
    f'{h["added"]} runs on {h["date"]}, when {h["finished"]} were finished'
    for h in late
  )
  return [
    f'The plan has grown after first results: {each}. If these results were '
    'the reason, p values are too small and intervals too narrow.'
  ]
