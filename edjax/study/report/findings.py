"""The verdicts of a study as text, with the differences behind them."""

from edjax.study import verdicts
from edjax.study.report import markdown
from edjax.study.report.numbers import size_word, spread
from edjax.study.statistics import Statistics


def headlines(statistics: Statistics) -> list[str]:
  """Returns 'H1: supported at n = 1 000' for each hypothesis."""
  study = statistics.study
  return [' '.join(_headline(study, judged)) for judged in statistics.judged]


def section(statistics: Statistics) -> list:
  """Returns the section with the verdicts on the plan's hypotheses."""
  study, blocks = statistics.study, []
  for judged in statistics.judged:
    word, where = map(markdown.escape, _headline(study, judged))
    blocks += [
      f'**{word}** {where}',
      f'*{markdown.escape(judged[""].hypothesis.statement)}*',
      markdown.bullets(_target_lines(study, judged)),
      *_evidence_table(study, judged),
    ]
  if not blocks:
    return []
  text = (
    'A hypothesis is supported when every primary target supports it, '
    'contradicted when one contradicts it, and undecided otherwise. '
    f'Primary: {", ".join(study.primary)}. Where a difference is negative, '
    'the first input has the lower error.'
  )
  return markdown.section('Verdicts', markdown.escape(text), *blocks)


def _headline(study, judged) -> tuple[str, str]:
  """Returns 'H1: supported' and 'at n = ...', with notes in brackets."""
  verdict = judged['']
  outcomes = [judged[target].word for target in study.primary]
  where = _where(study, verdict)
  if {'supported', 'contradicted'} <= set(outcomes):
    where += (
      f' (mixed: {outcomes.count("supported")} of {len(outcomes)} targets '
      f'support it, {outcomes.count("contradicted")} contradict it)'
    )
  return f'{verdict.hypothesis.name}: {verdict.word}', where


def _where(study, verdict) -> str:
  sizes = verdicts.sizes_read(verdict.hypothesis, study.sizes)
  if not sizes:
    return '(the study has no such sizes)'
  sizes = ', '.join(map(size_word, sizes))
  text = f'at n = {sizes}, for this network and budget'
  if any(e.difference is None for e in verdict.evidence):
    return f'{text} (comparisons are missing)'
  lacking = sorted({e.lacking for e in verdict.evidence if e.lacking})
  return f'{text} (provisional: {", ".join(lacking)})' if lacking else text


def _target_lines(study, judged) -> list[str]:
  """Returns the verdict of each target, with its comparison if it has one."""
  reasons = {judged[target].reason for target in study.primary}
  if len(reasons) == 1 and '' not in reasons:
    return [f'{", ".join(study.primary)}: undecided, {reasons.pop()}.']
  lines = []
  for target in study.primary:
    verdict = judged[target]
    text = f'{target}: {verdict.word}'
    if verdict.reason:
      lines.append(f'{text}, {verdict.reason}.')
      continue
    if len(verdict.evidence) == 1:
      only = verdict.evidence[0]
      text += f'. {_pair(study, only)}: {_difference(study, only, target)}'
    lines.append(f'{text} ({_p_word(verdict)}).')
  return lines


def _p_word(verdict) -> str:
  p, side = verdict.p_support, 'for'
  if verdict.word == 'contradicted' or verdict.p_contradict < p:
    p, side = verdict.p_contradict, 'against'
  return f'adjusted p {side} it {"< 0.001" if p < 0.001 else f"= {p:.3f}"}'


def _pair(study, evidence) -> str:
  claim = evidence.claim
  return f'{study.label(claim.a)} minus {study.label(claim.b)}'


def _difference(study, evidence, target) -> str:
  """Returns value, unit, interval, margin, and the seeds and examples."""
  kind, difference = evidence.claim.kind, evidence.difference
  if difference is None:
    return evidence.lacking
  level = 0.9 if kind == 'equivalent' else 0.95
  text = spread(difference.value, *difference.interval(level), signed=True)
  unit = f' {study.unit(target)}'.rstrip()
  text = text.replace(' (', f'{unit}, {level:.0%} interval ', 1)[:-1]
  if kind != 'less' and target in study.margins:
    text += f', margin {study.margins[target]:g}{unit}'
  text += f'; {difference.seeds} seeds, {difference.examples} test examples'
  if difference.units < difference.examples:
    text += f' in {difference.units} clusters'
  return text


def _evidence_table(study, judged) -> list[str]:
  """Returns a table of the differences of a verdict, if it has several."""
  if len(judged[study.primary[0]].evidence) < 2:
    return []
  rows = [
    (target, _pair(study, e), size_word(e.size), _difference(study, e, target))
    for target in study.primary
    for e in judged[target].evidence
  ]
  caption = f'Differences in {study.error} that the verdict rests on'
  head = 'target', 'inputs', 'n', 'difference'
  return [markdown.table(caption, head, rows)]
