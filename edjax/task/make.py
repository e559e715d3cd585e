"""Makes the task of a run: molecules, labels, split, voxels, network.

It follows from the configuration and the data alone, and is the same for
training, evaluation and reports.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from edjax import baselines, models, optim, voxelize
from edjax.baselines import moments_alone
from edjax.config.representation import (
  dataset_variant,
  make_voxelizer,
  needs_frontier,
  needs_map,
  needs_orbitals,
  selected_radius,
)
from edjax.data import (
  batching,
  labelling,
  loading,
  padded,
  splitting,
)
from edjax.data.packed_dataset import Pack
from edjax.kernels.numerics import batched
from edjax.molecule import Molecule
from edjax.runtime import compile_cache
from edjax.task import data_checks
from edjax.voxelize import voxel_chunk


@dataclasses.dataclass(frozen=True)
class Task:
  """A resolved configuration with its data.

  Attributes:
    config: resolved.
    pack: the dataset.
    rows: 'train', 'validation', 'test' -> [n] rows of the pack.
    pool: number of molecules that the training subset was drawn from.
    split_sha256: of the ids in the three parts.
    split_missing: number of ids of a published split that the dataset lacks.
    missing_ids: part -> these ids, for complexes.
    labels: of all rows.
    baselines: name -> [N, T] predictions of all rows, native units.
    delta: the baseline whose difference is learned; None without
      `config.data.delta`.
    test_sets: name -> positions in the test rows, where a split has several
      test sets; the test rows are their union.
    molecules: part -> padded molecules on the host, or a stream of them; see
      `batching.take`.
    voxelizer: Molecule -> vox_XYZC.
    model: Flax module.
    sample_BXYZC: voxels of the first training molecules, in their own frames;
      scales and the first statistics of layers come from them.
    outside: ids of molecules that do not fit into the box, with the reason.
    voxelize_seconds: to voxelise one molecule of the sample.
    remarks: sentences on the split of a user's molecules.
    unseen: channels of atom types that are empty in training, with the number
      of validation and test molecules that have such atoms.
  """

  config: Any
  pack: Pack
  rows: dict[str, np.ndarray]
  pool: int
  split_sha256: str
  split_missing: int
  missing_ids: Mapping[str, Sequence[str]]
  labels: labelling.Labels
  baselines: dict[str, np.ndarray]
  delta: baselines.Regression | None
  test_sets: dict[str, np.ndarray]
  molecules: dict[str, Molecule | batching.Stream]
  voxelizer: Any
  model: Any
  sample_BXYZC: np.ndarray
  outside: dict[str, str]
  voxelize_seconds: float
  unseen: dict[str, int]
  remarks: Sequence[str] = ()


# Molecules per batch of voxels before the first step.
_BATCH = 64
# Molecules in the sample: enough for means, scales and correlations, and done
# in seconds. All of them initialise the network, in one batch that takes some
# twenty times their memory, so that there are 512 only where these fit into
# 512 MiB, and fewer than 64 where these would take more than 2 GiB.
_SAMPLES = ((512, 2**29), (64, 2**31))


def selection_of(config) -> padded.Selection:
  """Returns the selection of atoms that a grid can see.

  Args:
    config: resolved or about to be.
  """
  representation = config.representation
  return padded.Selection(
    parts=config.data.parts,
    radius=selected_radius(config),
    orbitals=needs_orbitals(representation),
    frontier=needs_frontier(representation),
    maps=needs_map(representation),
    origin=config.data.origin,
  )


def _sample_size(voxelizer) -> int:
  """Returns the largest number of molecules in the sample."""
  raw = sum(math.prod(shape) for shape in voxelizer.raw_shapes)
  voxels = voxelizer.grid.size**3 * voxelizer.num_channels
  return max(
    1, *(min(n, size // (4 * max(raw, voxels))) for n, size in _SAMPLES)
  )


def _raw_field(voxelizer, shapes, tree):
  """Compiles molecules of these shapes -> their raw channels."""
  sample = jax.tree.unflatten(tree, shapes)
  field = batched(voxelizer.raw, voxel_chunk(voxelizer, sample))
  return jax.jit(field).lower(sample).compile()


def _finish(voxelizer):
  """Compiles (raw channels of a sample, scales) -> voxels."""

  def finish(sample, scale_C):
    # One molecule at a time: bins at the sub-points of all take gigabytes.
    return jax.lax.map(lambda raw: voxelizer.finish(raw, scale_C), sample)

  return jax.jit(finish)


def divide(
  pack: Pack, config
) -> tuple[splitting.Rows, dict[str, np.ndarray], np.ndarray]:
  """Divides a dataset, and checks the targets of each part.

  Args:
    pack: the dataset.
    config: resolved.

  Returns:
    The split; part -> its rows; targets, [N, T] in native units, NaN where not
    measured.

  Raises:
    ConfigError: see `splitting.make_split` and `labelling.check`.
  """
  split = splitting.make_split(pack, config.data)
  rows = {
    'train': split.train,
    'validation': split.validation,
    'test': split.test,
  }
  columns_NT = np.column_stack([pack.columns[t] for t in config.data.targets])
  classes = config.optim.loss == optim.CLASSES
  labelling.check(columns_NT, rows, config.data.targets, classes)
  return split, rows, columns_NT


def make_task(config, shared=None) -> Task:
  """Loads the data of a resolved configuration and sets up its network.

  Args:
    config: from `config.resolve`.
    shared: `compile_cache.CompileCache` of several runs in one process.

  Raises:
    ValueError: a part of the split is empty or too small, or a target cannot
      be standardised.
  """
  pack = loading.load_pack(config.data, dataset_variant(config))
  split, rows, columns_NT = divide(pack, config)
  classes = config.optim.loss == optim.CLASSES
  if config.data.shuffle_labels:
    columns_NT = labelling.shuffled(columns_NT, split, config.data.seed)
  learn_from = split.train, split.validation
  fitted = baselines.fit(pack, columns_NT, *learn_from, classes)
  predictions = fitted.predict(pack)
  offset_NT = delta = None
  if config.data.delta:
    delta = fitted.delta(config.data.delta)
    offset_NT = baselines.delta_offset(
      config.data.delta, predictions, pack, columns_NT, *learn_from
    )
  if classes:
    labels = labelling.make_classes(columns_NT)
  else:
    labels = labelling.make_labels(
      columns_NT, split.train, config.data.targets, offset_NT
    )
  if config.representation.use_b_factors:
    data_checks.check_b_factors(pack, rows)
  if needs_orbitals(config.representation):
    data_checks.check_orbitals(config, pack, rows)
  selection = selection_of(config)
  padding = padded.padding_of(
    pack, np.concatenate(list(rows.values())), selection
  )
  memory = config.data.memory_gib * 2**30
  molecules = {
    part: batching.molecules_of(pack, rows[part], padding, selection, memory)
    for part in rows
  }
  data_checks.check_densities(config.representation, pack, rows)
  data_checks.check_elements(config.representation, pack, rows, molecules)
  raw = make_voxelizer(config.representation)
  # Compiling a field takes seconds: the scales, the first statistics of layers
  # and the moments share one program.
  in_sample = min(_sample_size(raw), len(rows['train']))
  size = min(_BATCH, in_sample)
  batch = batching.take(molecules['train'], np.arange(size))
  shapes, tree = jax.tree.flatten(
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
  )
  shared = shared or compile_cache.CompileCache()
  field = shared.get(_raw_field, raw, tuple(shapes), tree)
  field(batch)  # not timed: a first call takes 0.1 s longer
  started = time.perf_counter()
  jax.block_until_ready(field(batch))
  seconds = time.perf_counter() - started
  sample = moments_alone.each_batch(
    field, molecules['train'], np.arange(in_sample), size
  )
  scales = voxelize.channel_scales(raw, sample)
  voxelizer = dataclasses.replace(raw, scales=scales)
  # A baseline beside every result: the input without a network.
  moments = shared.get(
    moments_alone.compiled,
    compile_cache.bare(voxelizer),
    tuple((size, *shape) for shape in raw.raw_shapes),
  )
  scale_C = compile_cache.scales_of(voxelizer)
  finish = shared.get(_finish, compile_cache.bare(voxelizer))
  predictions[baselines.MOMENTS] = moments_alone.predictions(
    lambda batch: moments(field(batch), scale_C),
    molecules,
    rows,
    labels,
    size,
  )
  return Task(
    config=config,
    pack=pack,
    rows=rows,
    pool=split.pool,
    split_sha256=split.sha256,
    split_missing=split.missing,
    missing_ids=split.missing_ids,
    labels=labels,
    baselines=predictions,
    delta=delta,
    test_sets=split.test_sets,
    molecules=molecules,
    voxelizer=voxelizer,
    model=models.build_model(config.model, len(config.data.targets)),
    sample_BXYZC=np.asarray(finish(sample, scale_C)),
    outside=data_checks.outside(config, pack, rows, molecules),
    voxelize_seconds=seconds / size,
    unseen=data_checks.unseen(voxelizer, molecules),
    remarks=data_checks.remarks(config, pack, rows),
  )
