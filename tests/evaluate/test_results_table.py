"""The table and the picture at the end of a run."""

import numpy as np
from support.made_up_results import made_up_results

from edjax import datasets
from edjax.evaluate import metrics, results_table, roc
from edjax.runtime import run_directory


def test_table_states_the_figures():
  results, truth, guess = made_up_results()
  lines = results_table.table(results).splitlines()
  assert '30 molecules of qm9_mini, 80 to learn from' in lines[0]
  assert len({len(line) for line in lines[1:5]}) == 1
  row = lines[3].split()
  assert row[:2] == ['gap', 'meV']
  assert float(row[2]) == float(f'{np.abs(truth - guess).mean():#.3g}')
  assert lines[3].endswith(' -0.500 (-0.750 to -0.250)')
  # No GFN2 values: no such baseline.
  assert 'ridge, composition' in lines[1]
  assert 'GFN2' not in lines[1]
  assert float(row[-5]) == float(f'{np.sqrt((truth**2).mean()):#.3g}')


def test_skipped_steps_are_told():
  results, *_ = made_up_results()
  plain = results_table.table(results)
  counts = {'skipped_steps': 0, 'trained_steps': 40}
  assert results_table.table(results | counts) == plain
  told = results_table.table(results | counts | {'skipped_steps': 3})
  assert told == (
    f'{plain}\n3 of 40 steps were skipped: their loss or gradient was not '
    'finite.'
  )


def test_bins_of_an_input_are_named_once():
  results, *_ = made_up_results()
  results['channels'] = ['shape', 'density_bins:3[0]', 'density_bins:3[1]']
  assert 'input shape, density_bins:3; mean' in results_table.table(results)


def test_what_the_network_is_added_to_is_told():
  results, *_ = made_up_results()
  plain = results_table.table(results)
  assert results_table.table(results | {'delta': ''}) == plain
  told = results_table.table(results | {'delta': 'composition'})
  assert told == (
    f'{plain}\nThe network learned what ridge, composition leaves, and is '
    'added to it.'
  )


def test_what_the_trunk_carries_is_told():
  results, *_ = made_up_results()
  plain = results_table.table(results)
  alive = {
    'trunk_share': {'gap': 0.412, 'homo': 1.2},
    'constant_predictions': [],
    'dead_channels': {'stem': [1, 8], 'last': [2, 16]},
  }
  said = results_table.table(results | alive)
  assert said == (
    f'{plain}\nOf the variance of the predictions the trunk (the convolutions) '
    'carries: gap 41.2 %, homo 120.0 %. Dead channels: 3 of 24.'
  )
  shares = {'gap': 0.0499, 'homo': 0.05, 'lumo': 0.0, 'mu': None}
  idle = alive | {'trunk_share': shares, 'constant_predictions': ['lumo']}
  lines = results_table.table(results | idle).splitlines()[-4:]
  assert 'gap 5.0 %, homo 5.0 %, lumo 0.0 %, mu -.' in lines[0]
  assert lines[1] == 'lumo: the network predicts a constant.'
  assert lines[2] == (
    'gap: the trunk carries under 5%. There the head predicts from the moments '
    'of the input alone: the convolutions do nothing.'
  )
  assert lines[3].startswith('Lower config.optim.learning_rate; see docs/')
  # Of the shares alone, as other programs may write them.
  said = results_table.table(results | {'trunk_share': {'gap': 0.3}})
  assert said.endswith(' carries: gap 30.0 %.')
  # A head that sees nothing else: its share is 1 by construction.
  alone = {'trunk_share': {'gap': 1.0, 'mu': 1 - 2**-52}}
  said = results_table.table(results | alone)
  assert said.endswith('are those of the trunk (the convolutions) alone.')


def test_moments_of_the_input_stand_beside():
  results, *_ = made_up_results()
  assert 'moments' not in results_table.table(results).splitlines()[1]
  found = results['targets']['gap']['baselines']
  found['moments'] = found['ridge_composition'] | {
    'mae_difference': {'value': 0.25, 'low': 0.125, 'high': 0.375}
  }
  lines = results_table.table(results).splitlines()
  assert lines[1].endswith('MAE - moments of the input')
  assert lines[3].endswith(' 0.250 (0.125 to 0.375)')
  assert ' -0.500 (-0.750 to -0.250) ' in lines[3]


def test_test_sets_stand_under_their_target():
  results, *_ = made_up_results()
  gap = results['targets']['gap']
  part = {k: v for k, v in gap.items() if k not in ('unit', 'rotation_std')}
  better = {'value': 0.0123, 'low': 0.01, 'high': 0.02}
  gap['test_sets'] = {
    'leaky': {'examples': 20, **part, 'mae': better},
    'clean': {
      'examples': 10,
      **part,
      'mae': {'value': 0.5, 'low': float('nan'), 'high': None},
    },
  }
  lines = results_table.table(results).splitlines()
  assert lines[4].startswith('  leaky (20)')
  assert '0.0123 (0.0100 to 0.0200)' in lines[4]
  assert lines[5].startswith('  clean (10)')
  assert '0.500 (- to -)' in lines[5]
  assert lines[6].startswith('homo')


def test_parity_plot_is_drawn_from_the_predictions(tmp_path):
  results, truth, guess = made_up_results()
  run = run_directory.RunDirectory(tmp_path)
  pair = np.column_stack([truth, truth]), np.column_stack([guess, guess])
  ids = [f'm{i}' for i in range(30)]
  run.write_predictions('test', ids, ('gap', 'homo'), *pair)
  read = run.read_predictions('test')
  np.testing.assert_array_equal(read['homo'], np.column_stack([truth, guess]))
  path = results_table.parity_plot(tmp_path, results)
  assert path.read_bytes().startswith(b'\x89PNG')
  assert path.stat().st_size > 10_000


def test_parity_has_the_diagonal_and_the_points():
  results, *_ = made_up_results()
  names = 'gap', 'homo', 'lumo', 'mu'
  entry = results['targets']['gap']
  results['targets'] = dict.fromkeys(names, entry)
  pair_N2 = np.array([[1.0, 1.5], [2.0, 2.5], [4.0, 4.5]])
  predictions = {name: pair_N2 * k for k, name in enumerate(names, 1)}
  figure = results_table.parity_figure(predictions, results)
  assert [a.get_title().split(':')[0] for a in figure.axes] == list(names)
  for axis, name in zip(figure.axes, names, strict=True):
    _, unit, factor = datasets.DATASETS['qm9_mini'].targets[name]
    diagonal, points = axis.lines
    ends = predictions[name].min() * factor, predictions[name].max() * factor
    np.testing.assert_array_equal(diagonal.get_xdata(), ends)
    np.testing.assert_array_equal(diagonal.get_ydata(), ends)
    shown = np.column_stack([points.get_xdata(), points.get_ydata()])
    np.testing.assert_array_equal(shown, predictions[name] * factor)
    assert axis.get_xlabel() == f'target ({unit})'


def made_up_classes():
  """Results on two classes; of the second, the test molecules are all 1."""
  rng = np.random.default_rng(0)
  truth = (rng.random(30) < 0.4).astype(float)
  guess = np.clip(0.3 * truth + 0.6 * rng.random(30), 0.01, 0.99)
  results, *_ = made_up_results()

  def entry(truth, guess):
    scores = metrics.bootstrap(truth, guess, 100, classes=True)
    less = {'value': -0.5, 'low': -0.75, 'high': -0.25}
    return {
      'unit': '',
      'share': truth.mean(),
      'rotation_std': 0.01,
      **scores,
      'baselines': {
        'mean': scores,
        'logistic_composition': scores | {'log_loss_difference': less},
      },
    }

  results |= {
    'classes': True,
    'reference': 'logistic_composition',
    'targets': {'active': entry(truth, guess)},
  }
  toxic = entry(np.ones(20), guess[:20])
  measured = results['examples'] | {'test': 20}
  results['targets']['toxic'] = toxic | {'measured': measured}
  with_gaps = np.r_[np.ones(20), np.full(10, np.nan)]
  predictions = {
    'active': np.column_stack([truth, guess]),
    'toxic': np.column_stack([with_gaps, guess]),
  }
  return results, predictions


def test_classes_have_a_table_of_their_own():
  results, predictions = made_up_classes()
  lines = results_table.table(results).splitlines()
  assert len({len(line) for line in lines[1:5]}) == 1
  for head in ('log loss (95 %)', 'AUROC (95 %)', 'AUPRC (95 %)', 'class 1'):
    assert head in lines[1]
  assert 'MAE' not in lines[1]
  truth, guess = predictions['active'].T
  loss = -np.log(np.where(truth == 1, guess, 1 - guess)).mean()
  assert lines[3].split()[:2] == ['active', f'{loss:#.3g}']
  assert lines[3].endswith(' -0.500 (-0.750 to -0.250)')
  assert f' {100 * truth.mean():.1f} % ' in lines[3]
  # One class alone: dashes and a sentence.
  assert lines[4].split()[5:8] == ['-', '-', '100.0']
  assert lines[-2:] == [
    'toxic was measured for 80 molecules to learn from and 20 test molecules.',
    'toxic is 1 for all 20 test molecules: with one class alone there is no '
    'AUROC and no AUPRC.',
  ]


def test_a_curve_has_the_area_that_the_table_says():
  results, predictions = made_up_classes()
  (axis,) = roc.figure(predictions, results).axes
  _, curve = axis.lines  # of toxic there is none
  area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
  found = results['targets']['active']['auroc']['value']
  assert abs(area - found) < 1e-12
  assert axis.get_legend().get_texts()[0].get_text().startswith('active: AUROC')
