"""A trained run on some of the embedded molecules, and their pack."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from support import tiny_runs

from data_builders.molecules import records
from data_builders.qm9_mini import qm9_mini_dataset_builder
from edjax import config as configuration
from edjax import models, train
from edjax.config.representation import make_voxelizer
from edjax.data import loading, packed_dataset
from edjax.molecule import Molecule
from edjax.predict import kept

CHOSEN = slice(0, 800, 10)


def raw_records():
  """Returns 80 of the embedded molecules, before xTB."""
  builder = qm9_mini_dataset_builder
  return builder.read_records(builder.embedded_lines())[CHOSEN]


def pack_in(directory) -> packed_dataset.Pack:
  """Writes and opens a pack of these molecules."""
  examples = [
    {
      name: np.float64(value) if isinstance(value, float) else value
      for name, value in records.calculate(record).example.items()
    }
    for record in raw_records()
  ]
  packed_dataset.write(directory, examples, 'fingerprint')
  return packed_dataset.open_pack(directory)


def config_of(data_dir, **representation):
  """Returns density on 8^3 voxels and two targets: a run of seconds."""
  config = tiny_runs.tiny(data_dir)
  config.data.train_size = 1.0
  config.data.max_eval = 0
  config.data.delta = 'composition'
  config.representation.channels = ('density',)
  config.train.steps = 20
  config.representation.update(representation)
  return config


@contextlib.contextmanager
def of_pack(pack):
  """Lets runs in the block have this pack as their dataset."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(loading, 'load_pack', lambda *args: pack)
    yield


def trained(directory, pack, config=None) -> dict:
  """Trains a run in a directory; returns its results."""
  config = config or config_of(directory)
  with of_pack(dataclasses.replace(pack, xtb_seconds=0.01)):
    return train.train_and_evaluate(config, directory)


def untrained(
  pack, seed=0, channels=('atoms',), representation=(), **fields
) -> kept.Kept:
  """Returns what a run would keep, with random weights.

  It says that the first 50 molecules of the pack were for training and the
  others validated, and that errors there were 0.01, 0.02, ... in turn.
  """
  config = config_of('nowhere', channels=channels, **dict(representation))
  config.data.delta = ''
  config = configuration.resolve(config)
  voxelizer = make_voxelizer(config.representation)
  model = models.build_model(config.model, 2)
  size, count = voxelizer.grid.size, voxelizer.num_channels
  vox_BXYZC = np.random.default_rng(seed).random(
    (4, size, size, size, count), np.float32
  )
  params = model.init(jax.random.key(seed), vox_BXYZC, train=False)['params']
  # The output layers start at zero.
  rng = np.random.default_rng(seed)
  params = jax.tree.map(
    lambda x: np.asarray(x + 0.1 * rng.normal(size=x.shape), np.float32), params
  )
  n = len(pack) - 50
  error_V1 = 0.01 * np.arange(1.0, n + 1)[:, None]
  made = kept.Kept(
    config=config,
    units=('Ha', 'D'),
    step=20,
    classes=False,
    weights_by_validation=True,
    mean_T=np.array([0.3, 2.0]),
    scale_T=np.array([0.05, 1.0]),
    scale_C=np.ones(len(voxelizer.raw_names)),
    delta=None,
    numbers_E=np.array([1, 6, 7, 8]),
    heavy_atoms=5,
    geometries=('file',),
    params=params,
    validation_ids=pack.ids[50:],
    target_VT=np.zeros((n, 2)),
    prediction_VT=error_V1 * [1, -1],
  )
  return dataclasses.replace(made, **fields)


def molecule_of(pack, row, **changes):
  """Makes the Molecule of a row, in the frame of its file."""
  begin, end = pack.atom_offsets[row : row + 2]
  shape = pack.orbital_counts[row], end - begin, pack.orbital_widths[row]
  first, last = pack.orbital_offsets[row : row + 2]
  options = {
    'orbitals': pack.orbitals[first:last].reshape(shape),
    'index': int(pack.index[row]),
  }
  return Molecule.from_arrays(
    pack.numbers[begin:end], pack.positions[begin:end], **options | changes
  )
