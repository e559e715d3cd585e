"""Reports of made-up studies: finished, begun, broken."""

import base64
import csv
import html.parser
import json
import re

import numpy as np
import pytest
from PIL import Image
from support import made_up_study as made

from edjax import datasets
from edjax.runtime import run_directory
from edjax.study import representations, statistics, verdicts
from edjax.study.pairing import PairingError
from edjax.study.report import costs, figures, numbers, provenance, write
from edjax.study.results import DONE, Point, Run, Study, main_point

NAMES = 'atoms', 'density', 'gradient'
SIZES = 100, 300, 1000
LEVELS = {'atoms': 2.0, 'density': 1.0, 'gradient': 1.3, 'noise': 4.0}


def entries(names=NAMES, sizes=SIZES, seeds=4, folds=(-1,), **more):
  return [
    made.entry(a, n, s, fold=f, **more)
    for s in range(seeds) for f in folds for n in sizes for a in names
  ]  # fmt: skip


def make_finished(directory):
  """Density ahead everywhere, two ablations."""
  extra = entries(NAMES[:2], (300,), 3, ablation='noise', setting='0.1 Å')
  extra += entries(('noise',), (300,), 3, ablation='controls', setting='noise')
  writer = made.Writer(
    directory, made.plan(entries() + extra), made.falling(LEVELS)
  )
  writer.finish()
  return directory


@pytest.fixture
def finished(tmp_path):
  """To be changed."""
  return make_finished(tmp_path)


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """With its report; to be looked at."""
  directory = make_finished(tmp_path_factory.mktemp('study'))
  return directory, write.write(directory)


def read(directory):
  """Returns the statistics of a study."""
  return statistics.Statistics(Study(directory))


def as_markdown(directory):
  stats = read(directory)
  return write.document(stats, write.sections(stats))


def table(path):
  with path.open(newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


class Page(html.parser.HTMLParser):
  """Collects what a browser is given, and checks that all tags close."""

  VOID = frozenset({'meta', 'br', 'img'})

  def __init__(self, text):
    super().__init__()
    self.tags, self.open, self.cells = [], [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag not in self.VOID:
      self.open.append(tag)
    if tag in ('td', 'th'):
      self.cells.append('')

  def handle_endtag(self, tag):
    assert tag in self.VOID or self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] in ('td', 'th'):
      self.cells[-1] += data

  def all(self, name):
    """Lists the attributes of all tags of a name."""
    return [attributes for tag, attributes in self.tags if tag == name]


def test_a_finished_study(written):
  finished, text = written
  # 36 of the main comparison, 6 and 3 of the others.
  assert '45 of 45 runs are done, 0 failed' in text
  assert 'H4: supported at n = 1' in text
  assert ', for this network and budget' in text
  assert 'H4x: contradicted' in text
  assert 'H5a: contradicted' in text
  words = (finished / 'report.md').read_text(encoding='utf-8')
  assert '- gap: density, 0.' in words
  assert ' Behind it: gradient +0.' in words
  assert words.index('## Verdicts') < words.index('## Learning curves')
  for heading in (
    'Which input is ahead', 'Differences from atoms', 'Controls',
    'Where one input overtakes another', 'Noise on coordinates', 'Cost',
    'Spread over rotations', 'Machines, versions and run times',
  ):  # fmt: skip
    assert f'## {heading}' in words
  assert '## What is missing' not in words
  # By hand: (1 - 2) x (1000 / 100)^-0.3, within the made-up seeds' 5 %.
  rows = table(finished / 'summary.csv')
  row = next(
    r
    for r in rows
    if (r['ablation'], r['representation'], r['size'], r['target'])
    == ('main', 'density', '1000', 'gap')
  )
  expected = -(10**-0.3)
  assert float(row['difference']) == pytest.approx(expected, rel=0.2)
  assert float(row['difference_low']) < float(row['difference'])
  assert (row['seeds'], row['seeds_planned'], row['test_examples']) == (
    '4', '4', '60',
  )  # fmt: skip


def test_study_csv_has_what_results_have(written):
  finished, _ = written
  rows = table(finished / 'study.csv')
  plan = json.loads((finished / 'plan.json').read_text())
  assert [r['name'] for r in rows] == [e['name'] for e in plan['entries']]
  for row in rows[:3]:
    path = finished / 'runs' / row['name']
    results = json.loads((path / 'results.json').read_text())
    entry = results['targets']['gap']
    assert float(row['gap_mae']) == entry['mae']['value']
    ridge = entry['baselines']['ridge_composition']['mae']['value']
    assert float(row['gap_ridge_composition_mae']) == ridge
    # 0.05 s a label, 10 steps of 0.1 s, 32 molecules of 2 ms in each.
    xtb = 0.05 * float(row['size'])
    assert float(row['xtb_seconds']) == pytest.approx(xtb)
    assert float(row['total_seconds']) == pytest.approx(xtb + 1)
    assert float(row['voxels_seconds']) == pytest.approx(0.64)
    assert float(row['run_seconds']) == results['seconds']


def with_shares(run_path, shares):
  """Changes what results say of the trunk."""
  path = run_path / 'results.json'
  results = json.loads(path.read_text())
  counts = {'stem': [1, 8], 'last': [2, 16]}
  results |= {'trunk_share': shares, 'dead_channels': counts}
  path.write_text(json.dumps(results))


def test_what_convolutions_carry(tmp_path):
  """In a table, in study.csv, and in words where it is next to nothing."""
  content = made.plan(entries(NAMES[:2], (100, 300), 3))
  writer = made.Writer(tmp_path, content, made.falling(LEVELS))
  writer.finish()
  # Runs from before this was recorded.
  before = as_markdown(tmp_path)
  assert '| atoms | 100 | - | - |' in before
  assert 'Warning' not in before
  for seed, gap in enumerate((0.5, 0.25, 0.75)):
    path = tmp_path / 'runs' / f'atoms-n100-s{seed}'
    with_shares(path, {'gap': gap, 'mu': 0.9})
  with_shares(tmp_path / 'runs' / 'atoms-n300-s0', {'gap': 0.5, 'mu': None})
  text = as_markdown(tmp_path)
  begin = text.index('## What the convolutions carry')
  part = text[begin : text.index('## Spread over rotations')]
  assert '| input | n | gap | mu |' in part
  assert '| atoms | 100 | 0.50 (0.25 at least) | 0.90 (0.90 at least) |' in part
  assert '| atoms | 300 | 0.50 | - |' in part
  assert '| density | 100 | - | - |' in part
  assert 'Warning' not in text

  with_shares(tmp_path / 'runs' / 'density-n300-s1', {'gap': 0.04, 'mu': 0.05})
  said = write.write(tmp_path)
  warning = (
    'Warning: in 1 of 5 runs the convolutions carry under 5% of the '
    'predictions of a target (inputs: density; targets: gap). Verdicts on '
    'these compare moments of the inputs, not convolutional networks. '
    'Lower config.optim.learning_rate; see docs/training.md.'
  )
  assert warning in said
  text = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert text.index(warning) < text.index('## Verdicts')
  page = (tmp_path / 'report.html').read_text(encoding='utf-8')
  assert warning in page
  rows = {row['name']: row for row in table(tmp_path / 'study.csv')}
  row = rows['density-n300-s1']
  assert (row['gap_trunk_share'], row['mu_trunk_share']) == ('0.04', '0.05')
  assert (row['dead_channels'], row['channels']) == ('3', '24')
  assert rows['density-n300-s0']['gap_trunk_share'] == ''
  assert rows['atoms-n300-s0']['mu_trunk_share'] == ''


def test_costs_that_are_not_known():
  examples = {'train': 80, 'validation': 20, 'test': 9}
  run = Run(
    'r', main_point('atoms', 100), 0, 0, -1, DONE,
    {'seconds': 7.0, 'examples': examples},
    {'config': {
      'representation.channels': ['atoms'], 'representation.density': 'xtb',
    }},
  )  # fmt: skip
  found = costs.cost(run)
  assert found == {'run': 7, 'training': 7, 'xtb': 0, 'total': 7}
  run.facts['config']['representation.channels'] = ['density']
  # What xTB took is not in the results: no total, rather than one too small.
  assert costs.cost(run) == {'run': 7, 'training': 7}
  # Whoever learns the residual of a GFN2 ridge needs xTB as well.
  run.results['cost'] = {'xtb_seconds_per_molecule': 0.5}
  run.facts['config']['representation.channels'] = ['atoms']
  assert costs.cost(run)['total'] == 57


def test_a_learning_rate_at_the_edge_of_those_offered_is_named():
  tuned = {
    'learning_rates': [1e-2, 1e-3, 3e-3],
    'chosen': {
      'atoms': {'optim.learning_rate': 3e-3},
      'density': {'optim.learning_rate': 1e-2},
      'shape': {'optim.learning_rate': 1e-3},
    },
  }
  (text,) = provenance.at_the_edge(tuned)
  assert text.startswith('The learning rate chosen for density, shape is')
  assert '0.001, 0.003, 0.01' in text
  assert not provenance.at_the_edge(tuned | {'learning_rates': [3e-3]})


def test_scores_are_those_of_the_runs(written):
  finished, _ = written
  stats = read(finished)
  score = stats.score(main_point('density', 300), 'gap')
  for seed, value in zip(score.seeds, score.value_S, strict=True):
    path = finished / 'runs' / f'density-n300-s{seed}'
    results = json.loads((path / 'results.json').read_text())
    assert value == pytest.approx(
      results['targets']['gap']['mae']['value'], rel=1e-9
    )
  base = stats.baseline('ridge_composition', 300, 'gap')
  assert base.seeds == 4
  assert 3 / 300**0.1 * 0.97 < base.value < 3 / 300**0.1 * 1.03
  # The one that sees the input has a row for each of them.
  names = [name for name in stats.baselines() if 'moments' in name]
  inputs = stats.study.representations()
  assert names == [f'moments:{name}' for name in inputs]
  for name in inputs:
    own = stats.baseline(f'moments:{name}', 300, 'gap')
    assert own.seeds == 4
    assert own.value == pytest.approx(2 * base.value + len(name))
  text = (finished / 'report.md').read_text(encoding='utf-8')
  assert '| moments of the input, density |' in text


def test_html_stands_alone(written):
  finished, _ = written
  report = (finished / 'report.md').read_text(encoding='utf-8')
  text = (finished / 'report.html').read_text(encoding='utf-8')
  page = Page(text)
  assert not {'script', 'link', 'iframe', 'object'} & {t for t, _ in page.tags}
  assert 'url(' not in text
  assert '@import' not in text
  ids = [a['id'] for _, a in page.tags if 'id' in a]
  assert len(set(ids)) == len(ids)
  links = [a['href'] for a in page.all('a')]
  assert len(links) == report.count('\n## ')
  assert {f'#{name}' for name in ids} >= set(links)
  # Every figure of the Markdown, in its order, as the file has it.
  files = re.findall(r'!\[.+\]\((figures/.+\.png)\)', report)
  assert len(files) == len(set(files)) == 7
  for image, file in zip(page.all('img'), files, strict=True):
    head, _, data = image['src'].partition(',')
    assert head == 'data:image/png;base64'
    assert base64.b64decode(data) == (finished / file).read_bytes()
    assert image['alt']
  # Every table too, and nothing of their Markdown is left.
  rows = [line for line in report.splitlines() if line.startswith('| ')]
  rules = [line for line in rows if line.startswith('| ---')]
  assert len(page.all('table')) == len(rules) > 10
  assert len(page.all('tr')) == len(rows) - len(rules)
  assert 'density minus atoms' in page.cells
  assert any(a.get('style') == 'text-align:right' for a in page.all('td'))


def test_words_of_a_plan_are_text(tmp_path):
  """Neither Markdown nor HTML, whatever is in them."""
  odd = '<b>&lt;|</b> *a* `b` [c](d) __e__ \\'
  content = made.plan(entries(NAMES[:2], (100,), 2), title=odd)
  content['labels']['atoms'] = odd
  made.Writer(tmp_path, content, made.falling(LEVELS)).finish()
  write.write(tmp_path)
  text = (tmp_path / 'report.html').read_text(encoding='utf-8')
  page = Page(text)
  assert not {'b', 'code'} & {tag for tag, _ in page.tags}
  assert odd in page.cells
  assert f'<h1 id="{page.all("h1")[0]["id"]}">{html.escape(odd)}</h1>' in text
  assert f'<title>{html.escape(odd)}</title>' in text
  assert all(a['href'][0] == '#' for a in page.all('a'))
  assert any(f'minus that of {odd}' in a['alt'] for a in page.all('img'))


def test_the_overview_has_all_primary_targets(written):
  finished, _ = written
  words = (finished / 'report.md').read_text(encoding='utf-8')
  begin = words.index('## MAE at n = 1\u202f000')
  part = words[begin : words.index('## Learning curves')]
  assert '| input | gap (meV) | mu (D) |' in part
  for row in ('atoms', 'density', 'gradient', 'ridge, composition'):
    assert f'| {row} |' in part
  assert '](figures/overview.png)' in part
  # Wider than one chart.
  sizes = []
  for name in ('overview', 'curve_gap'):
    with Image.open(finished / 'figures' / f'{name}.png') as picture:
      sizes.append(picture.size)
  assert sizes[0][0] > sizes[1][0]


def test_pictures_show_something(written):
  finished, _ = written
  for path in (finished / 'figures').glob('*.png'):
    image = np.asarray(Image.open(path).convert('L'))
    assert image.std() > 5, path.name


def test_nothing_is_done_yet(tmp_path):
  made.Writer(tmp_path, made.plan(entries()), made.falling(LEVELS))
  text = write.write(tmp_path)
  assert '0 of 36 runs are done' in text
  assert 'H4: undecided' in text
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert 'Runs to come' in words
  with pytest.raises(FileNotFoundError, match=r'plan\.json'):
    write.write(tmp_path / 'elsewhere')


def test_an_unfinished_study(tmp_path):
  writer = made.Writer(tmp_path, made.plan(entries()), made.falling(LEVELS))
  writer.finish(
    lambda e: (
      not (e['subset_seed'] == 3 and e['representation'] == 'density')
      and not (e['subset_seed'] == 2 and e['size'] == 1000)
    )
  )
  failed = tmp_path / 'runs' / 'density-n100-s3'
  failed.mkdir()
  (failed / 'error.txt').write_text('Traceback\nValueError: no atoms')
  (tmp_path / 'runs' / 'density-n300-s3').mkdir()
  text = write.write(tmp_path)
  assert '30 of 36 runs are done, 1 failed, 1 begun, 4 left' in text
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert '| density-n100-s3 | ValueError: no atoms |' in words
  # Seeds 0 and 1 of 0 to 3.
  assert 'provisional: 2 of 4 seeds' in words
  # Two seeds at the largest size tell nothing apart, the verdict neither.
  assert 'H4: undecided' in text
  assert 'Behind it' not in words
  rows = {r['name']: r for r in table(tmp_path / 'study.csv')}
  assert rows['density-n100-s3']['status'] == 'failed'
  assert rows['density-n300-s3']['status'] == 'begun'
  # A later success counts, whatever error an earlier attempt left.
  writer.run(next(
    e for e in writer.plan['entries'] if e['name'] == 'density-n1000-s3'
  ))  # fmt: skip
  error = tmp_path / 'runs' / 'density-n1000-s3' / 'error.txt'
  error.write_text('no')
  assert '31 of 36 runs are done, 1 failed' in write.write(tmp_path)


def pdbbind(
  tmp_path, folds=(0, 1, 2), names=('atoms', 'density', 'shape'), **more
):
  content = made.plan(
    entries(names, folds=folds),
    'pdbbind', ('pk',), metric='rmse', margins={'pk': 0.05},
    hypotheses=['H1', 'H2', 'H3'],
  )  # fmt: skip
  levels = {'atoms': 1.5, 'density': 1.0, 'shape': 1.0, 'noise': 4.0}
  return made.Writer(tmp_path, content, made.falling(levels), tests=40, **more)


def test_folds_are_one_replicate(tmp_path):
  writer = pdbbind(tmp_path, clusters=4)
  missing = 'density-n100-s2-f1'
  writer.finish(lambda e: e['name'] != missing)
  stats = read(tmp_path)
  assert stats.incomplete == 1
  point = main_point('density', 100)
  score = stats.score(point, 'pk')
  assert score.seeds == (0, 1, 3)
  assert score.draws.examples == 120
  assert score.draws.units == 30
  # The error of all examples together, not a mean of three errors.
  pairs = [
    run_directory.RunDirectory(
      tmp_path / 'runs' / f'density-n100-s0-f{f}'
    ).read_predictions('test')['pk']
    for f in range(3)
  ]
  truth_N, prediction_N = np.concatenate(pairs).T
  pooled = np.sqrt(np.mean((truth_N - prediction_N) ** 2))
  assert score.value_S[0] == pytest.approx(pooled, rel=1e-12)
  each = [np.sqrt(np.mean((t - p) ** 2)) for t, p in (x.T for x in pairs)]
  assert abs(np.mean(each) / pooled - 1) > 1e-6
  # Pooled by their sums of squares; equal here in all folds.
  ridge = stats.baseline('ridge_composition', 100, 'pk')
  assert ridge.value == pytest.approx(1.3 * 3 / 100**0.1, rel=0.03)
  text = write.write(tmp_path)
  assert 'Replicates that lack folds, and are left out so far: 1.' in text
  assert 'H1: undecided' in text  # the study lacks the gradient
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert 'in 30 clusters' in words
  assert 'gradient is not in the study' in words


@pytest.mark.parametrize(
  ('control', 'word'), [('noise', 'supported'), ('atoms', 'undecided')]
)
def test_equivalence_within_a_margin(tmp_path, control, word):
  names = 'density', 'shape', control
  writer = pdbbind(tmp_path, (0,), names, clusters=4)
  writer.plan['margins'] = {'pk': 0.3}
  (tmp_path / 'plan.json').write_text(json.dumps(writer.plan))
  writer.finish()
  judged = {v[''].hypothesis.name: v[''].word for v in read(tmp_path).judged}
  assert judged == {'H1': 'undecided', 'H2': 'undecided', 'H3': word}
  assert ('noise is not in the study' in as_markdown(tmp_path)) == (
    control != 'noise'
  )


def swap(path):
  """Exchanges two ids of a run's predictions."""
  path = path / 'predictions_test.csv'
  text = path.read_text()
  text = text.replace('t0_0003', 'x').replace('t0_0004', 't0_0003')
  path.write_text(text.replace('x,', 't0_0004,'))


def test_mixed_up_ids_are_refused_by_name(finished):
  swap(finished / 'runs' / 'density-n1000-s2')
  stats = read(finished)
  with pytest.raises(
    PairingError, match=r'density-n1000-s2 .* true values .* mixed'
  ):
    stats.score(main_point('density', 1000), 'gap')
  text = write.write(finished)
  assert 'H4: undecided' in text
  words = (finished / 'report.md').read_text(encoding='utf-8')
  assert 'their ids are mixed up' in words


def test_mixed_up_ids_between_inputs_are_refused(tmp_path):
  """All runs of an input agree, but not with those of the other."""
  writer = made.Writer(tmp_path, made.plan(entries()), made.falling(LEVELS))
  writer.finish()
  for path in (tmp_path / 'runs').glob('density-*'):
    swap(path)
  stats = read(tmp_path)
  stats.score(main_point('atoms', 100), 'gap')
  found, why = stats.difference(
    main_point('density', 100), main_point('atoms', 100), 'gap'
  )
  assert found is None
  assert 'density-n100-s0' in why
  assert 'atoms-n100-s0' in why


def test_other_test_examples_are_not_compared(tmp_path):
  writer = made.Writer(
    tmp_path, made.plan(entries(NAMES[:2], (100,), 2)), made.falling(LEVELS)
  )
  writer.finish(lambda e: e['representation'] == 'atoms')
  for e in writer.plan['entries']:
    if e['representation'] == 'density':
      writer.run(e, [f'other_{i}' for i in range(60)])
  stats = read(tmp_path)
  found, why = stats.difference(
    main_point('density', 100), main_point('atoms', 100), 'gap'
  )
  assert found is None
  assert 'different examples' in why


@pytest.mark.parametrize('lacking', [0, 3, 30])
def test_ablations_that_lack_some_molecules(tmp_path, lacking):
  """Paired on what both have; another test set is none that lacks some."""
  noisy = entries(NAMES[:1], (100,), 3, ablation='noise', setting='0.1 Å')
  levels = LEVELS | {'atoms': 2.0}
  writer = made.Writer(
    tmp_path,
    made.plan(entries(NAMES[:1], (100,), 3) + noisy),
    lambda e, target: (
      levels[e['representation']] * (2 if e['ablation'] == 'noise' else 1)
    ),
  )
  writer.finish()
  for e in noisy:
    path = tmp_path / 'runs' / e['name'] / 'predictions_test.csv'
    lines = path.read_text().splitlines()
    gone = tuple(f't0_{i:04d},' for i in range(lacking))
    kept = [line for line in lines if not line.startswith(gone or '#')]
    path.write_text('\n'.join(kept) + '\n')
  stats = read(tmp_path)
  points = Point('noise', '0.1 Å', 'atoms', 100), main_point('atoms', 100)
  found, alone = stats.difference_in_common(*points, 'gap')
  write.write(tmp_path)
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert alone == lacking
  if lacking == 30:
    assert found is None
    assert 'different test examples |' in words
    return
  assert (found.examples, found.seeds) == (60 - lacking, 3)
  # By another way: each run's errors on the examples that are left.
  both = [stats.predictions(point, 'gap') for point in points]
  means = [
    np.abs(x.prediction_SN - x.target_N)[:, np.isin(x.ids_N, both[0].ids_N)]
    for x in both
  ]
  means = [x.mean() * stats.study.factor('gap') for x in means]
  assert found.value == pytest.approx(means[0] - means[1], rel=1e-9)
  said = f'on the {60 - lacking} test examples of both'
  assert (said in words) == bool(lacking)


def test_the_winner_is_found_over_common_seeds(tmp_path):
  """A seed that is hard for all says nothing about who is ahead."""
  hard = {3: 10.0}
  writer = made.Writer(
    tmp_path,
    made.plan(entries(NAMES[:2], (100,), 4)),
    lambda e, target: (
      LEVELS[e['representation']] * hard.get(e['subset_seed'], 1.0)
    ),
  )
  # Density is better on each seed; atoms have not yet met the hard one.
  writer.finish(
    lambda e: e['subset_seed'] < 3 or e['representation'] == 'density'
  )
  stats = read(tmp_path)
  means = [stats.mean(main_point(x, 100), 'gap').value for x in NAMES[:2]]
  assert means[0] < means[1]
  write.write(tmp_path)
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert '- gap: density, 0.' in words or '- gap: density, 1.' in words


@pytest.mark.parametrize('pool', [310, 10_000])
def test_subsets_that_are_nearly_the_same_are_said_to_be(tmp_path, pool):
  content = made.plan(entries(NAMES[:2], (100, 300), 3))
  content['history'] = [
    {'date': '2026-01-02', 'added': 4, 'finished': f} for f in (0, 7)
  ]
  made.Writer(tmp_path, content, made.falling(LEVELS), pool=pool).finish()
  write.write(tmp_path)
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert ('share 97% at n = 300.' in words) == (pool == 310)
  assert '% at n = 100' not in words
  # Growth before any result is nobody's choice.
  assert 'results: 4 runs on 2026-01-02, when 7 were finished. If' in words


def test_diverged_runs_are_counted(tmp_path):
  writer = made.Writer(tmp_path, made.plan(entries()), made.falling(LEVELS))
  lost = 'density-n1000-s3'
  writer.finish(lambda e: e['name'] != lost)
  path = tmp_path / 'runs' / lost
  path.mkdir()
  (path / 'error.txt').write_text('FloatingPointError: not finite')
  text = write.write(tmp_path)
  assert 'provisional: 3 of 4 seeds)' in text
  (path / 'diverged').touch()
  text = write.write(tmp_path)
  assert 'provisional: 3 of 4 seeds, runs that diverged: 1)' in text


def test_the_same_order_is_not_needed(finished):
  """Rows in another order are the same predictions."""
  stats = read(finished)
  before = stats.difference(
    main_point('density', 300), main_point('atoms', 300), 'gap'
  )[0]
  path = finished / 'runs' / 'density-n300-s1' / 'predictions_test.csv'
  head, *rows = path.read_text().splitlines()
  path.write_text('\n'.join([head, *reversed(rows)]) + '\n')
  stats = read(finished)
  after = stats.difference(
    main_point('density', 300), main_point('atoms', 300), 'gap'
  )[0]
  assert after == before


def test_folds_that_share_examples_are_refused(tmp_path):
  writer = pdbbind(tmp_path, folds=(0, 1))
  for e in writer.plan['entries']:
    if (e['representation'], e['size'], e['subset_seed']) == (
      'density',
      100,
      0,
    ):
      writer.run(e, [f't{i}' for i in range(40)])
  with pytest.raises(PairingError, match='f0 and again of'):
    read(tmp_path).score(main_point('density', 100), 'pk')


def test_initialisations_of_a_subset_are_averaged(tmp_path):
  content = made.plan(
    [
      made.entry('atoms', 100, s, init=i) for s in range(2) for i in range(3)
    ]
  )  # fmt: skip
  made.Writer(tmp_path, content, made.falling(LEVELS)).finish()
  stats = read(tmp_path)
  score = stats.score(main_point('atoms', 100), 'mu')
  assert score.seeds == (0, 1)
  values = [
    json.loads(
      (tmp_path / 'runs' / f'atoms-n100-s0{i}' / 'results.json').read_text()
    )['targets']['mu']['mae']['value']
    for i in ('', '-i1', '-i2')
  ]
  assert score.value_S[0] == pytest.approx(np.mean(values), rel=1e-12)


def test_targets_that_contradict_each_other_are_said_to(tmp_path):
  def error(entry, target):
    ahead = (entry['representation'] == 'density') == (target == 'gap')
    return 1.0 if ahead else 2.0

  plan = made.plan(entries(NAMES[:2]), hypotheses=['H4'])
  made.Writer(tmp_path, plan, error).finish()
  text = write.write(tmp_path)
  assert '(mixed: 1 of 2 targets support it, 1 contradict it)' in text


def test_a_crossover_is_found(tmp_path):
  """Density from 2 to 0.5 times atoms, in log n: even at the middle."""

  def error(e, target):
    return (
      1.0
      if e['representation'] == 'atoms'
      else 2 - np.log(e['size'] / 100) / 2.4
    )

  content = made.plan(entries(NAMES[:2], (100, 1000, 10_000), seeds=5))
  made.Writer(tmp_path, content, error).finish()
  stats = read(tmp_path)
  found = stats.crossover('density', 'atoms', 'gap')
  assert found.ahead == 'a'
  assert found.low < found.size < found.high
  # 1 = 2 - log(n / 100) / 2.4.
  assert found.size == pytest.approx(100 * np.exp(2.4), rel=0.2)
  text = write.write(tmp_path)
  assert 'H4: supported' in text
  assert 'H4x: supported' in text
  words = (tmp_path / 'report.md').read_text(encoding='utf-8')
  assert 'density from' in words


def test_another_format_is_refused(tmp_path):
  made.Writer(tmp_path, made.plan([], format=1), made.falling(LEVELS))
  with pytest.raises(ValueError, match='format 1'):
    read(tmp_path)


def test_means_over_seeds():
  mean = statistics.mean_of([1.0, 2.0, 3.0])
  # t with 2 degrees of freedom: 4.303; standard error 1 / sqrt(3).
  assert mean.high - mean.value == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
  assert np.isnan(statistics.mean_of([1.0]).low)
  assert statistics.mean_of([]).seeds == 0


@pytest.mark.parametrize(
  ('value', 'text'),
  [(1234.5, '1 230'), (0.012345, '0.0123'), (12.345, '12.3'), (0, '0'),
   (None, '-'), (float('nan'), '-'), (99.96, '100')],
)  # fmt: skip
def test_numbers(value, text):
  assert numbers.number(value).replace('\u202f', ' ') == text


def test_intervals_have_decimals_that_mean_something():
  assert numbers.spread(1.2345, 1.2, 1.3) == '1.23 (1.20 to 1.30)'
  assert numbers.spread(-12.3, -20, 4.6, signed=True) == ('−12 (−20 to +5)')
  assert numbers.spread(2.0, np.nan, np.nan) == '2.00'


@pytest.mark.parametrize('ratio', [1.01, 1.1, 1.3, 2, 5, 30, 1e5])
@pytest.mark.parametrize('low', [1.37e-3, 0.9, 7.77e4])
def test_a_logarithmic_axis_has_ticks(low, ratio):
  """Different ones, written out, where the data are."""
  points = [(1, low, low, low), (ratio, low * ratio, low, low * ratio)]
  series = figures.Series('x', figures.style('atoms'), points)
  chart = figures.Chart('t', 'y', [series])
  (axis,) = figures.Figure('c', 't', [chart]).draw().axes
  for side, ends in (
    (axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim()),
  ):  # fmt: skip
    ticks = [t for t in side.get_majorticklocs() if ends[0] <= t <= ends[1]]
    words = side.get_major_formatter().format_ticks(ticks)
    assert 2 <= len(set(words)) == len(ticks) <= 25
    assert not any('e' in word or '$' in word for word in words)


def test_curves_are_those_of_the_table(written):
  finished, _ = written
  blocks = write.sections(read(finished))
  curve = next(b for b in blocks if getattr(b, 'name', '') == 'curve_gap')
  (axis,) = curve.draw().axes
  assert (axis.get_xscale(), axis.get_yscale()) == ('log', 'log')
  bars, labels = axis.get_legend_handles_labels()
  lines = {label: bar.lines[0] for bar, label in zip(bars, labels, strict=True)}
  looks = {(x.get_marker(), x.get_linestyle()) for x in lines.values()}
  assert len(looks) == len(lines)
  y = lines['density'].get_ydata()
  np.testing.assert_allclose(y, (np.array(SIZES) / 100) ** -0.3, rtol=0.1)
  assert lines['noise (control)'].get_ydata() == [
    pytest.approx(4 * 3**-0.3, rel=0.1)
  ]


def contrast(a, b):
  """Ratio of WCAG 2.2, 1.4.3."""

  def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
      c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
      for c in channels
    ]
    return np.dot((0.2126, 0.7152, 0.0722), linear)

  one, two = sorted((luminance(a), luminance(b)))
  return (two + 0.05) / (one + 0.05)


def test_lines_can_be_told_apart():
  looks = [*figures.STYLES.values()]
  looks += [figures.style('?', i) for i in range(4)]
  assert len({x.marker for x in looks}) == len(looks)
  for look in looks:
    # 1.4.11: graphics have a contrast of 3 to what is behind them.
    assert contrast(look.colour, '#ffffff') >= 3
  assert contrast('#000000', '#ffffff') == pytest.approx(21)


def test_every_hypothesis_reads_known_inputs():

  for hypothesis in verdicts.HYPOTHESES.values():
    for claim in hypothesis.claims:
      assert {claim.a, claim.b} <= representations.REPRESENTATIONS.keys()
  assert figures.STYLES.keys() >= representations.REPRESENTATIONS.keys()


@pytest.fixture
def of_classes(tmp_path, monkeypatch):
  """Density ahead on two classes, of which the second has gaps."""
  mine = datasets.Dataset('mine', '', {}, ('random',), open_targets=True)
  monkeypatch.setitem(datasets.DATASETS, 'mine', mine)
  plan = made.plan(
    entries(NAMES[:2]), 'mine', ('active', 'toxic'), metric='log_loss',
  )  # fmt: skip
  levels = {'atoms': 0.6, 'density': 0.3}
  writer = made.Writer(tmp_path, plan, made.falling(levels), gaps=15)
  writer.finish()
  return tmp_path


def test_a_study_of_classes(of_classes):
  write.write(of_classes)
  words = (of_classes / 'report.md').read_text(encoding='utf-8')
  assert 'active: log loss, mean (95 % t interval' in words
  assert '- toxic: density, 0.' in words
  assert '()' not in words  # there is no unit
  assert 'H4: supported' in words
  row = table(of_classes / 'study.csv')[0]
  assert float(row['active_auroc']) > 0.5
  assert 'active_mae' not in row
  assert (row['active_test_examples'], row['toxic_test_examples']) == (
    '60', '45',
  )  # fmt: skip


def test_errors_of_a_study_are_of_what_was_measured(of_classes):
  stats = read(of_classes)
  for target, tests in (('active', 60), ('toxic', 45)):
    point = main_point('density', 1000)
    difference, _ = stats.difference(main_point('atoms', 1000), point, target)
    assert difference.examples == tests
    score = stats.score(point, target)
    for seed, value in zip(score.seeds, score.value_S, strict=True):
      run = next(
        r for r in stats.study.runs if (r.point, r.subset_seed) == (point, seed)
      )
      stored = run.results['targets'][target]['log_loss']['value']
      assert value == pytest.approx(stored, rel=1e-9)


def test_folds_count_by_what_was_measured():
  """A baseline over folds of 10 and 30 measured examples of 50."""

  def run(measured, value):
    entry = {'baselines': {'mean': {'mae': {'value': value}}}}
    results = {'examples': {'test': 50}, 'targets': {'y': entry}}
    if measured:
      entry['measured'] = {'test': measured}
    return Run('r', main_point('density', 10), 0, 0, 0, results=results)

  def pooled(*runs):
    return statistics._pooled_baseline(runs, 'y', 'mean', 'mae')

  assert pooled(run(10, 1.0), run(30, 2.0)) == pytest.approx(1.75)
  # Results of before have no such counts.
  assert pooled(run(0, 1.0), run(0, 2.0)) == pytest.approx(1.5)
