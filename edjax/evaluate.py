"""Evaluation: every example exactly once, averaged over rotations."""

import time

import jax
import numpy as np

from edjax import baselines, geometry, metrics
from edjax.config.representation import needs_orbitals
from edjax.data import batching
from edjax.kernels.numerics import batched
from edjax.runtime import compile_cache, multihost, parallel
from edjax.voxelize import voxel_chunk

# Rotations of evaluations use other random numbers than training
# (edjax.train folds in 0, 1 and 2).
_EVALUATE = 3


def make_predict(config, task, shared=None):
  """The compiled prediction of a batch, shared by all evaluations of a run.

  Args:
    config: resolved.
    task: the task.
    shared: `compile_cache.Programs` of several runs in one process.

  Returns:
    predict(params, molecules, rotation_number) -> standardised [D, B/D, T];
    every argument has a leading device axis.
  """

  shared = shared or compile_cache.Programs()
  voxelizer = compile_cache.bare(task.voxelizer)
  predict = shared.get(_predict, config.augment.rotate, task.model, voxelizer)
  constants = parallel.replicate(compile_cache.constants_of(config, task))
  return lambda *args: predict(*args, constants)


def _predict(rotate: bool, model, voxelizer):
  def predict(params, molecules, rotation_number, constants):
    vox_BXYZC = voxels(rotate, voxelizer, molecules, rotation_number, constants)
    return model.apply({'params': params}, vox_BXYZC, train=False)

  return parallel.pmap(predict)


def voxels(rotate: bool, voxelizer, molecules, rotation_number, constants):
  """Voxels that a network is evaluated on, within a program.

  Args:
    rotate: `config.augment.rotate`.
    voxelizer: from `compile_cache.bare`.
    molecules: a batch.
    rotation_number: which of the random rotations of every molecule.
    constants: `compile_cache.Constants`.

  Returns:
    vox_BXYZC.
  """
  key = jax.random.key(constants.seed)
  key = jax.random.fold_in(key, _EVALUATE)
  key = jax.random.fold_in(key, rotation_number)
  voxelize = compile_cache.scaled(voxelizer, constants)

  def turned(mol):
    if rotate:
      turn = jax.random.fold_in(key, mol.example_id)
      mol = geometry.rotate(mol, geometry.random_rotation(turn))
    return voxelize(mol)

  chunk = voxel_chunk(voxelizer, molecules)
  return batched(turned, chunk)(molecules)


class Evaluator:
  """Predictions for one part of a task's data."""

  def __init__(self, config, task, part: str, predict):
    self._config, self._task, self.part = config, task, part
    self._predict = predict

  def predict(self, params, rotations: int, progress=None) -> np.ndarray:
    """Predictions of all examples, each exactly once a rotation.

    Args:
      params: of the network, on the host.
      rotations: how many rotations.
      progress: called after each batch, or None.

    Returns:
      [rotations, n, T] in native units.
    """
    size = self._config.eval.batch_size
    rows = self._task.rows[self.part]
    n = len(rows)
    placed = parallel.replicate(params)
    numbers = [parallel.replicate(np.uint32(r)) for r in range(rotations)]
    outputs = [[] for _ in range(rotations)]
    for begin in range(0, n, size):
      # The last batch is filled up with the last example and cut again.
      indices_B = np.minimum(np.arange(begin, begin + size), n - 1)
      batch = batching.take(
        self._task.molecules[self.part], parallel.shard(indices_B)
      )
      for r in range(rotations):
        output_DBT = self._predict(placed, batch, numbers[r])
        outputs[r].append(parallel.gather(output_DBT)[: n - begin])
        if progress:
          progress()
    standardised_RBT = np.stack([np.concatenate(o) for o in outputs])
    return self._task.labels.to_native(standardised_RBT, rows)

  def targets(self) -> np.ndarray:
    """[n, T] in native units."""
    return self._task.labels.columns_NT[self._task.rows[self.part]]

  def log(self, params, step: int, run) -> float:
    """Logs the errors of one rotation.

    Returns:
      Mean over the targets of MAE over the training standard deviation: what
      checkpoints are selected by, on validation.
    """
    from data_builders import targets

    prediction_BT = self.predict(params, rotations=1)[0]
    error_T = np.abs(prediction_BT - self.targets()).mean(0)
    names = self._config.data.targets
    for j, name in enumerate(names):
      _, unit, factor = targets.TARGETS[self._config.data.name][name]
      run.log(step, self.part, f'mae_{name}', error_T[j] * factor, unit)
    value = float(np.mean(error_T / self._task.labels.scale_T))
    run.log(step, self.part, 'mae_standardised', value, '')
    return value


def final_evaluation(config, task, params, run, predict) -> dict:
  """Predicts validation and test and summarises the test set.

  Args:
    config: resolved.
    task: the task.
    params: selected weights, on the host.
    run: run directory; predictions_<part>.csv are written there.
    predict: from `make_predict`.

  Returns:
    The results: per target errors with bootstrap intervals, the spread over
    rotations, and the baselines on the same examples; and what predicting
    costs: `cost`, and predict_seconds_per_molecule of one rotation, voxels
    included.
  """
  from tqdm import tqdm

  rotations = config.eval.rotations
  size = config.eval.batch_size
  for part in ('validation', 'test'):
    evaluator = Evaluator(config, task, part, predict)
    n = len(task.rows[part])
    total = rotations * -(-n // size)
    started = time.perf_counter()
    with tqdm(
      total=total,
      desc=f'evaluate {part}',
      unit='batch',
      disable=not multihost.is_first(),
    ) as bar:
      prediction_RBT = evaluator.predict(params, rotations, bar.update)
    # Of the test part, for which nothing is compiled any more.
    seconds = (time.perf_counter() - started) / (rotations * n)
    ids = [task.pack.ids[row] for row in task.rows[part]]
    clusters_N = task.pack.columns.get('cluster')
    run.write_predictions(
      part,
      ids,
      config.data.targets,
      evaluator.targets(),
      prediction_RBT.mean(0),
      None if clusters_N is None else clusters_N[task.rows[part]],
    )
  results = summarise(config, task, prediction_RBT)
  results['cost'] = cost(config, task) | {
    'predict_seconds_per_molecule': seconds
  }
  return results


def cost(config, task) -> dict[str, float]:
  """Seconds that one molecule costs before the network sees it.

  Args:
    config: resolved.
    task: the task.

  Returns:
    voxelize_seconds_per_molecule on this machine, and of one core of the
    machine that built the dataset xtb_seconds_per_molecule, where the run
    makes use of GFN2-xTB (orbitals, geometry or baseline) and the dataset
    says it.
  """
  found = {'voxelize_seconds_per_molecule': task.voxelize_seconds}
  uses_xtb = (
    needs_orbitals(config.representation)
    or config.data.delta == 'gfn2'
    or config.data.geometry == 'gfn2'
  )
  if uses_xtb and task.pack.xtb_seconds is not None:
    found['xtb_seconds_per_molecule'] = task.pack.xtb_seconds
  return found


def spread(prediction_RB) -> float | None:
  """Standard deviation over rotations, pooled over examples.

  Without bias by their number R; None where there is but one.
  """
  if len(prediction_RB) == 1:
    return None
  return float(np.sqrt(prediction_RB.var(0, ddof=1).mean()))


def mean_spread(prediction_RB) -> float:
  """Standard deviation over rotations, averaged over examples; R above 1."""
  return float(prediction_RB.std(0, ddof=1).mean())


def summarise(config, task, prediction_RBT) -> dict:
  """Errors on test, the baselines beside them.

  Args:
    config: resolved.
    task: the task.
    prediction_RBT: of the test part, native units.
  """
  from data_builders import targets

  rows = task.rows['test']
  results = {
    'dataset': config.data.name,
    'examples': {part: len(rows) for part, rows in task.rows.items()},
    'pool': task.pool,
    'channels': list(task.voxelizer.channel_names),
    'outside_box': len(task.outside),
    'rotations': config.eval.rotations,
    'reference': baselines.reference(task.pack),
    'targets': {},
  }
  clusters_N = task.pack.columns.get('cluster')
  for j, name in enumerate(config.data.targets):
    _, unit, factor = targets.TARGETS[config.data.name][name]

    def scores(chosen_B, j=j, factor=factor):
      """Scores of some of the test examples, and of the baselines there."""
      where = rows[chosen_B]
      options = {
        'resamples': config.eval.bootstrap,
        'seed': 0,
        'clusters_N': None if clusters_N is None else clusters_N[where],
      }
      truth = task.labels.columns_NT[where, j] * factor
      prediction = prediction_RBT[:, chosen_B, j].mean(0) * factor
      entry = metrics.bootstrap(truth, prediction, **options)
      entry['baselines'] = {}
      for baseline, values_NT in task.baselines.items():
        guess = values_NT[where, j] * factor
        entry['baselines'][baseline] = {
          **metrics.bootstrap(truth, guess, **options),
          # Paired, on the same test molecules: negative is better than it.
          'mae_difference': metrics.paired_mae_difference(
            truth, prediction, guess, **options
          ),
        }
      return entry

    results['targets'][name] = {
      'unit': unit,
      **scores(np.arange(len(rows))),
      'rotation_std': spread(prediction_RBT[:, :, j] * factor),
    }
    if len(prediction_RBT) > 1:
      results['targets'][name]['rotation_spread'] = mean_spread(
        prediction_RBT[:, :, j] * factor
      )
    if task.test_sets:
      results['targets'][name]['test_sets'] = {
        label: {'examples': len(chosen), **scores(chosen)}
        for label, chosen in task.test_sets.items()
      }
  return results
