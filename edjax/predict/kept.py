"""What a run keeps for predictions: one file, without the training data."""

import dataclasses
import io
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict, FrozenConfigDict

from edjax import baselines, datasets
from edjax.config import ConfigError
from edjax.data import labelling
from edjax.fields import channels
from edjax.runtime import atomic_files, checkpoint, multihost
from edjax.task import Task

NAME = 'predictor.npz'
# Version of the contents, to be raised with every change.
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Kept:
  """A trained run.

  Attributes:
    config: resolved, of the run.
    units: [T] of the predictions.
    step: of the weights, which evaluation selected.
    classes: whether targets are classes, predictions their probabilities.
    weights_by_validation: whether the validation molecules chose the weights.
    mean_T: added to the network's outputs, after `scale_T`.
    scale_T: the network's outputs are multiplied with it.
    scale_C: of the raw channels of the voxelizer.
    delta: the baseline that is added; None for none.
    numbers_E: elements of the training molecules.
    heavy_atoms: largest number of atoms but hydrogen in a training molecule
      (of the ligand, in complexes).
    geometries: where inputs of training come from, see `geometries_of`.
    params: of the network.
    validation_ids: of the validation molecules.
    target_VT: their targets, native units, NaN where not measured.
    prediction_VT: their predictions.
  """

  config: FrozenConfigDict
  units: tuple[str, ...]
  step: int
  classes: bool
  weights_by_validation: bool
  mean_T: np.ndarray
  scale_T: np.ndarray
  scale_C: np.ndarray
  delta: baselines.Regression | None
  numbers_E: np.ndarray
  heavy_atoms: int
  geometries: tuple[str, ...]
  params: Mapping[str, Any]
  validation_ids: tuple[str, ...]
  target_VT: np.ndarray
  prediction_VT: np.ndarray

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the targets."""
    return self.config.data.targets

  def labels(self, offset_NT: np.ndarray) -> labelling.Labels:
    """Returns what turns outputs for N molecules into native units.

    Args:
      offset_NT: predictions of `delta`, or zeros.
    """
    nothing_NT = np.full_like(offset_NT, np.nan)
    return labelling.Labels(
      values_NT=nothing_NT,
      offset_NT=offset_NT,
      mean_T=self.mean_T,
      scale_T=self.scale_T,
      columns_NT=nothing_NT,
      classes=self.classes,
    )

  def sha256(self) -> str:
    """Returns the SHA-256 of all of it, in hexadecimal."""
    arrays, facts = _split(self)
    return checkpoint.digest(arrays, facts)


def keep(config, task: Task, params, step: int, run) -> None:
  """Writes the file of a run whose selected weights were evaluated.

  Of several processes, the first one writes.

  Args:
    config: resolved.
    task: of the run.
    params: selected weights, on the host.
    step: of these.
    run: the run directory, with predictions_validation.csv.

  Raises:
    OSError: it cannot be written.
  """
  if not multihost.is_first():
    return
  rows, pack = task.rows, task.pack
  names = config.data.targets
  pairs = run.read_predictions('validation')
  made = Kept(
    config=config,
    units=tuple(datasets.target_of(config.data, n).native for n in names),
    step=step,
    classes=task.labels.classes,
    weights_by_validation=config.train.weights == 'best',
    mean_T=task.labels.mean_T,
    scale_T=task.labels.scale_T,
    scale_C=np.array(task.voxelizer.scales),
    delta=task.delta,
    numbers_E=_elements(pack, rows['train']),
    heavy_atoms=int(pack.heavy_atoms()[rows['train']].max()),
    geometries=tuple(np.unique(geometries_of(pack)[rows['train']]).tolist()),
    params=params,
    validation_ids=tuple(pack.ids[row] for row in rows['validation']),
    target_VT=np.column_stack([pairs[name][:, 0] for name in names]),
    prediction_VT=np.column_stack([pairs[name][:, 1] for name in names]),
  )
  write(run.path / NAME, made)


def write(path: pathlib.Path, kept: Kept) -> None:
  """Writes the file, at once.

  Raises:
    OSError: it cannot be written.
  """
  arrays, facts = _split(kept)
  about = {
    'format': FORMAT,
    'sha256': checkpoint.digest(arrays, facts),
    'facts': facts,
  }
  buffer = io.BytesIO()
  np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
  atomic_files.write(path, buffer.getvalue())


def geometries_of(pack) -> np.ndarray:
  """Returns where inputs come from, [N].

  They are geometries of a 'file', or made from 'SMILES'; or densities of files,
  `datasets.MAP_KINDS`.
  """
  if 'map_kind' in pack.columns:
    return pack.map_kinds()
  made_up_N = pack.columns.get('made_up', np.zeros(len(pack)))
  return np.where(made_up_N > 0, 'SMILES', 'file')


def _elements(pack, rows) -> np.ndarray:
  spans = zip(pack.atom_offsets[rows], pack.atom_offsets[rows + 1], strict=True)
  return np.unique(np.concatenate([pack.numbers[b:e] for b, e in spans]))


def read(path) -> Kept:
  """Reads what a run has kept.

  Args:
    path: the run directory, or the file in it.

  Raises:
    FileNotFoundError: the run has none.
    ConfigError: the file is damaged or of another version, or the run has
      channels that are functions, and are not there.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    path = path / NAME
  if not path.is_file():
    raise FileNotFoundError(
      f'there is no {path}, which predictions need: it is written at the end '
      'of training, and by the command of the training with --mode evaluate'
    )
  try:
    with path.open('rb') as file, np.load(file) as stored:
      arrays = dict(stored)
    about = json.loads(str(arrays.pop('about')))
  except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise ConfigError(f'{path} cannot be read ({error}); {_AGAIN}') from error
  if about.get('format') != FORMAT:
    raise ConfigError(
      f'{path} has format {about.get("format")}, this version of edjax reads '
      f'{FORMAT}; {_AGAIN}'
    )
  facts = about['facts']
  if checkpoint.digest(arrays, facts) != about['sha256']:
    raise ConfigError(f'{path} does not hold what was written; {_AGAIN}')
  return _joined(arrays, facts, path)


_AGAIN = 'the command of the training with --mode evaluate writes it again'
# Fields of `Kept` that are arrays.
_ARRAYS = (
  'mean_T', 'scale_T', 'scale_C', 'numbers_E', 'target_VT', 'prediction_VT',
)  # fmt: skip
# Fields that JSON holds as they are.
_FACTS = (
  'units', 'step', 'classes', 'weights_by_validation', 'heavy_atoms',
  'geometries', 'validation_ids',
)  # fmt: skip


def _split(kept: Kept) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Returns a run as arrays by name, and the rest of it for JSON."""
  arrays = {name: np.asarray(getattr(kept, name)) for name in _ARRAYS}
  flat = traverse_util.flatten_dict(kept.params, sep='/')
  arrays |= {f'params/{name}': np.asarray(x) for name, x in flat.items()}
  if kept.delta is not None:
    arrays |= {f'delta/{k}': v for k, v in kept.delta.arrays().items()}
  facts = {name: getattr(kept, name) for name in _FACTS}
  facts['config'] = kept.config.to_dict()
  return arrays, json.loads(json.dumps(facts))


def _joined(arrays, facts, path) -> Kept:
  config = FrozenConfigDict(ConfigDict(_tuples(facts['config'])))
  unknown = set(config.representation.channels) - set(channels.known())
  if unknown:
    names = ', '.join(sorted(unknown))
    raise ConfigError(
      f'{path}: its channels {names} are functions of your own: give each to '
      'edjax.fields.channels.add before the run is loaded'
    )

  def below(prefix: str) -> dict[str, np.ndarray]:
    return {
      name.removeprefix(prefix): array
      for name, array in arrays.items()
      if name.startswith(prefix)
    }

  of_delta = below('delta/')
  return Kept(
    config=config,
    delta=baselines.of_arrays(of_delta) if of_delta else None,
    params=traverse_util.unflatten_dict(below('params/'), sep='/'),
    **{name: arrays[name] for name in _ARRAYS},
    **{name: _tuples(facts[name]) for name in _FACTS},
  )


def _tuples(value):
  """Returns JSON's lists as the tuples that they were."""
  if isinstance(value, dict):
    return {k: _tuples(v) for k, v in value.items()}
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
