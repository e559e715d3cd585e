"""Writes the results of a study so far as a report and tables."""

from edjax.runtime import atomic_files, paths
from edjax.study.report import (
  comparisons,
  csv_tables,
  findings,
  markdown,
  networks,
  provenance,
)
from edjax.study.report.ablations import ablations
from edjax.study.report.costs import costs
from edjax.study.report.figures import Figure
from edjax.study.report.page import page
from edjax.study.results import Study
from edjax.study.statistics import Statistics


def write(directory, place='') -> str:
  """Writes study.csv, summary.csv, report.md, report.html and figures/.

  It can be called at any time, and covers the finished runs; the others are
  counted and named.

  Args:
    directory: of a study.
    place: its name in messages; '' for the directory.

  Returns:
    A few lines: progress, verdicts, where the report is.

  Raises:
    FileNotFoundError: there is no plan.json.
    ValueError: plan.json has another format.
  """
  study = Study(directory)
  statistics = Statistics(study)
  blocks = sections(statistics)
  pictures = {b.file: b.png() for b in blocks if isinstance(b, Figure)}
  report = document(statistics, blocks)
  reference = comparisons.reference(study)
  texts = {
    'study.csv': csv_tables.runs(study),
    'summary.csv': csv_tables.summary(statistics, reference),
    'report.md': report,
    'report.html': page(study.plan['title'], report, pictures),
  }
  (study.path / 'figures').mkdir(exist_ok=True)
  for name, content in pictures.items():
    atomic_files.write(study.path / name, content)
  for name, text in texts.items():
    atomic_files.write(study.path / name, text)
  lines = [
    *_lead(statistics),
    *findings.headlines(statistics),
    f'report: {paths.join(place or study.path, "report.html")}',
  ]
  return '\n'.join(lines)


def sections(statistics: Statistics) -> list[str | Figure]:
  """Returns the sections of a report: blocks of Markdown, and figures."""
  study = statistics.study
  return [
    *findings.section(statistics),
    *comparisons.winners(statistics),
    *comparisons.overview(statistics),
    *comparisons.curves(statistics),
    *comparisons.differences(statistics),
    *comparisons.crossovers(statistics),
    *ablations(statistics),
    *networks.carried(study),
    *networks.rotations(study),
    *costs(statistics),
    *provenance.tuning(study),
    *provenance.machines(study),
    *provenance.missing(statistics),
    *provenance.methods(study),
  ]


def document(statistics: Statistics, blocks: list[str | Figure]) -> str:
  """Returns the report as Markdown: title, lead, contents and sections."""
  study, lead = statistics.study, _lead(statistics)
  if not study.done():
    lead.append('No run is finished yet; there is nothing to compare.')
  texts = [b.markdown() if isinstance(b, Figure) else b for b in blocks]
  title = f'# {markdown.escape(study.plan["title"])}'
  lead = map(markdown.escape, lead)
  return '\n\n'.join([title, *lead, markdown.contents(blocks), *texts]) + '\n'


def _lead(statistics) -> list[str]:
  return [provenance.progress(statistics), *networks.idle(statistics.study)]
