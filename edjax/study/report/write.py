"""What a study found, as files; whatever is there of it."""

import collections
import importlib.util
import json
import os
import pathlib

from edjax.evaluate import paired
from edjax.runtime import paths
from edjax.study import run_table
from edjax.study.report import comparisons, csv_tables, extras, html
from edjax.study.report.document import (
  Document,
  Finding,
  Section,
  Table,
  draw,
  draw_overview,
  markdown,
  number,
  size_word,
)
from edjax.study.run_table import Study


def write(directory, place='') -> str:
  """Writes study.csv, summary.csv, report.md, report.html and figures/.

  At any time: on what is finished, with what is not counted and named.

  Args:
    directory: of a study.
    place: what to call it; '' as it is.

  Returns:
    A few lines: progress, verdicts, where the report is.

  Raises:
    FileNotFoundError: there is no plan.json.
    ValueError: its format is unknown.
  """
  study = Study(directory)
  path = study.path
  csv_tables.write_csv(path / 'study.csv', *csv_tables.run_rows(study))
  rows = csv_tables.summary_rows(study, comparisons.reference_arm(study))
  csv_tables.write_csv(path / 'summary.csv', *rows)
  document = build(study)
  for figure in document.figures():
    draw(figure, path / 'figures' / f'{figure.name}.png')
  for overview, figures in document.overviews():
    draw_overview(figures, path / 'figures' / f'{overview.name}.png')
  _replace(path / 'report.md', markdown(document))
  name = 'report.md'
  # Hours of runs do not end in an error of the last minute.
  if importlib.util.find_spec('plotly'):
    name = 'report.html'
    _replace(path / name, html.page(document))
  where = str(paths.join(place or path, name))
  if name == 'report.md':
    where += ' (for report.html: pip install "edjax[report]")'
  findings = [
    f'{f.name}: {f.word} {f.where}'
    for s in document.sections
    for f in s.parts
    if isinstance(f, Finding)
  ]
  lines = [_progress(study), *extras.idle(study), *findings]
  return '\n'.join([*lines, f'report: {where}'])


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
  compared = comparisons
  sections = [
    compared.findings(study), compared.winners(study),
    compared.overview(study), compared.curves(study),
    compared.differences(study), compared.crossovers(study),
    *(extras.block(study, name) for name in extras.BLOCKS),
    extras.carried(study), extras.parity(study),
    extras.rotations(study), extras.costs(study), _tuned(study),
    _machines(study), _unfinished(study), _methods(study),
  ]  # fmt: skip
  kept = tuple(s for s in sections if s.parts)
  lead = [_progress(study), *extras.idle(study)]
  if not study.done():
    lead.append('No run is finished yet; there is nothing to compare.')
  return Document(study.plan['title'], tuple(lead), kept)


def _progress(study: Study) -> str:
  counts = {
    status: study.count(status)
    for status in (
      run_table.DONE, run_table.FAILED, run_table.BEGUN,
      run_table.LEFT,
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
  return Section('Tuning', (table, *_at_the_edge(tuned)) if rows else ())


def _at_the_edge(tuned: dict) -> list[str]:
  """Name the inputs whose learning rate has no tried neighbour on one side."""
  rates = sorted(set(tuned['learning_rates']))
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
  hours = sum(map(_process_seconds, study.done())) / 3600
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


def _process_seconds(run: run_table.Run) -> float:
  """Of a process; seeds that train as one program share it."""
  at_once = run.results.get('cost', {}).get('runs_at_once', 1)
  return (run.results.get('seconds') or 0) / at_once


def _unfinished(study: Study) -> Section:
  parts = []
  failed = [r for r in study.runs if r.status == run_table.FAILED]
  if failed:
    rows = [(r.name, r.error.strip().splitlines()[-1] if r.error.strip()
             else 'no message') for r in failed]  # fmt: skip
    parts.append(Table('Failed runs', ('run', 'error'), tuple(rows)))
  groups = collections.Counter(
    (r.block, r.arm, r.size)
    for r in study.runs
    if r.status in (run_table.LEFT, run_table.BEGUN)
  )
  if groups:
    rows = [(b, comparisons.words(study, a), size_word(s), str(n))
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
        except run_table.PairingError as error:
          name = f'{block}: {study.label(point[2])} at n = {point[3]:g}'
          refused[name] = str(error)
  return refused


def _growth(study: Study) -> list[str]:
  """What was added to the plan when results could be known."""
  late = [h for h in study.plan.get('history', ()) if h['finished']]
  if not late:
    return []
  each = '; '.join(
    f'{h["added"]} runs on {h["date"]}, when {h["finished"]} were finished'
    for h in late
  )
  return [
    f'The plan has grown after first results: {each}. If that was because of '
    'what these said, p values and intervals are too narrow.'
  ]


def _methods(study: Study) -> Section:
  margins = study.plan.get('margins') or {}
  named = ', '.join(
    f'{m:g} {study.unit(t)[0]} ({t})' for t, m in margins.items()
  )
  return Section(
    'How the numbers are made',
    (
      *_growth(study),
      'A run at size n uses n labels in all, validation included. A difference '
      'is the mean over training subsets of paired differences on the same '
      'test examples. Its interval is Student’s t with the variance over '
      'subsets plus that over test examples (whole clusters of related ones), '
      'from a bootstrap, with Satterthwaite’s degrees of freedom.',
      f'Verdicts: level {paired.ALPHA:g}, Holm’s correction over the primary '
      'targets; equivalence by two one-sided tests'
      + (f' with margins {named}.' if named else ' (no margin is named here).'),
      'Intervals of single curves are over seeds alone and say nothing of '
      'other test examples; compare inputs by the paired differences.',
    ),
  )
