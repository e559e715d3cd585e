"""The science of the GPU benchmark: four inputs, one network, equal steps.

Each arm is a process of its own that writes its errors and its predictions, so
that one that is killed leaves the others valid.
"""

import shutil

from benchmarks import timing
from benchmarks.accuracy import runs
from benchmarks.gpu import common, train
from benchmarks.robustness import faults
from edjax import baselines, datasets
from edjax.evaluate import metrics
from edjax.runtime import checkpoint, run_directory
from edjax.study.representations import REPRESENTATIONS
from edjax.train import train_and_evaluate

# Inputs in the order of the calls; the promolecule is of free atoms, the
# control. The slowest decides how many steps all of them train.
ARMS = ('atoms', 'density', 'atoms_density', 'promolecule')
_SLOWEST = 'atoms_density'
# The others are compared with this one, molecule by molecule.
_REFERENCE = 'density'
# Seconds after the start of a process at which its last step should end: a
# third of an arm's limit in gpu.sh is left for evaluation.
_TRAINED_BY = 45.0
_FEWEST_STEPS = 200
# 48^3 voxels of 0.25 Å and bfloat16 as in `full`; the network does 9 GFLOP a
# molecule forward, as `common.layers` counts them.
_FIELDS = {
  'data.targets': ('gap', 'mu', 'alpha', 'u0_atom'),
  'data.train_size': 1.0,
  'data.max_eval': 2000,
  'model.widths': (128, 256, 384),
  'model.blocks': (1, 2, 2),
  'train.batch_size': 64,
  'train.weights': 'last',
  'eval.rotations': 4,
  'eval.bootstrap': 500,
}


def _configuration(part, arm: str):
  """Resolves the configuration of an arm, with the steps that `plan` chose."""
  steps = 4 if part.tiny else part.facts('plan').get('steps', 1000)
  every = dict.fromkeys(('steps', 'eval_every', 'checkpoint_every'), steps)
  return train.configuration(
    'qm9_density:full',
    part.tiny,
    _FIELDS
    | {f'train.{name}': value for name, value in every.items()}
    | REPRESENTATIONS[arm].fields,
  )


def plan(options) -> None:
  """Times the slowest arm, and chooses the steps of all arms by it."""
  part = common.Part(options, f'Steps of the arms, by {_SLOWEST}')
  table = part.table()
  config = _configuration(part, _SLOWEST)
  run, each = train.timed_steps(part, table, config)
  begun = part.seconds() - common.SECONDS
  steps = max(_FEWEST_STEPS, (_TRAINED_BY - begun) / each)
  steps = 20 * int(steps / 20)
  part.keep('plan', {'steps': steps})
  flops = sum(map(common.forward_flops, run.layers)) / run.batch
  table.row('forward pass', flops / 1e9, 'GFLOP a molecule', '', '', '')
  table.row('steps of an arm', steps, '', '', '', f'by {_TRAINED_BY:g} s')


def arm(options) -> None:
  """Trains on one input; writes its errors and keeps its predictions."""
  name = options.argument
  part = common.Part(options, f'Science: {REPRESENTATIONS[name].label}')
  config, run = _configuration(part, name), part.work / 'arms' / name
  with train.pack_of(part):
    results = train_and_evaluate(config, run)
  shutil.copy(
    run / 'predictions_test.csv', timing.RESULTS / f'predictions-{name}.csv'
  )
  saved = _checkpoint_of(run)
  part.keep(name, saved)
  examples, targets = results['examples'], results['targets']
  labels = baselines.LABELS
  beside = [name for name in labels if name in targets['gap']['baselines']]
  table = part.table(
    ('target', 'unit', 'MAE (95 %)', 'spread over rotations',
     *(labels[name] for name in beside)),
    [
      f'{saved["step"]} steps of {config.train.batch_size}, '
      f'{examples["train"]} molecules to learn from, '
      f'{examples["test"]} of test; '
      f'{part.seconds():.0f} s in all. Last: MAE of baselines.'
    ],
  )  # fmt: skip
  for target, entry in targets.items():
    table.row(
      target, entry['unit'], runs.interval(entry['mae']), entry['rotation_std'],
      *(entry['baselines'][name]['mae']['value'] for name in beside),
    )  # fmt: skip


def after(options) -> None:
  """Compares the arms, and reads their checkpoints; for CPUs alone."""
  part = common.Part(options, 'Science: paired differences')
  done = [name for name in ARMS if part.facts(name)]
  predicted = {
    name: run_directory.RunDirectory(
      part.work / 'arms' / name
    ).read_predictions('test')
    for name in done
  }
  others = [name for name in done if name != _REFERENCE]
  table = part.table(
    ('target', 'unit', *(REPRESENTATIONS[name].label for name in others)),
    [f'MAE minus that of {_REFERENCE} on the same molecules (95 %).'],
  )
  for target, pair_N2 in predicted.get(_REFERENCE, {}).items():
    _, unit, factor = datasets.DATASETS['qm9'].targets[target]
    truth_N, reference_N = factor * pair_N2.T
    differences = (
      metrics.paired_difference(
        truth_N, factor * predicted[name][target][:, 1], reference_N
      )
      for name in others
    )
    table.row(target, unit, *map(runs.interval, differences))
  for name in done:
    saved = _checkpoint_of(part.work / 'arms' / name)
    same = 'is' if saved == part.facts(name) else 'IS NOT'
    table.text(
      '',
      f'{name}: the checkpoint of step {saved["step"]} {same} the same on a '
      'CPU.',
    )


def _checkpoint_of(run) -> dict:
  """Returns step and digest of a run's latest checkpoint, as read here."""
  step, arrays = faults.weights(run, 'latest')
  return {'step': step, 'sha256': checkpoint.digest(arrays, {})}
