"""A trained model: predictions for molecules, packs, and as a pure function."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import FrozenConfigDict

from edjax import models
from edjax import task as tasks
from edjax.chem import elements
from edjax.config.representation import (
  make_voxelizer,
  needs_frontier,
  needs_map,
  needs_orbitals,
  parts_of,
)
from edjax.data import batching, packed_dataset, padded
from edjax.datasets import CORE_STEP
from edjax.evaluate import predicting
from edjax.geometry import translate
from edjax.molecule import LIGAND, POCKET, Molecule, origin_weights
from edjax.predict import kept as keeping
from edjax.predict.additive import Additive
from edjax.runtime import compile_cache


class Prediction(NamedTuple):
  """Predictions for N molecules.

  Attributes:
    names: [T] of the targets.
    units: [T] of the predictions; '' for probabilities and pure numbers.
    mean_NT: mean over rotations.
    sd_NT: standard deviation over rotations; NaN for a single one.
  """

  names: tuple[str, ...]
  units: tuple[str, ...]
  mean_NT: np.ndarray
  sd_NT: np.ndarray


def load(path) -> 'Model':
  """Loads the model of a finished run.

  Args:
    path: of the run directory, or of its predictor.npz.

  Raises:
    FileNotFoundError, ConfigError: see `kept.read`.
  """
  return Model(keeping.read(path))


class Model:
  """A trained model.

  Args:
    kept: of the run.

  Attributes:
    kept: of the run.
    config: of the run.
    voxelizer: Molecule -> vox_XYZC.
    model: Flax module.
  """

  def __init__(self, kept: keeping.Kept):
    self.kept = kept
    self.config: FrozenConfigDict = kept.config
    self.voxelizer = dataclasses.replace(
      make_voxelizer(self.config.representation),
      scales=tuple(kept.scale_C.tolist()),
    )
    self.model = models.build_model(self.config.model, len(kept.names))
    self._selection = tasks.selection_of(self.config)
    # They only grow: what was compiled is used again. There is room for an
    # orbital where they are read, also if no ligand has any.
    orbitals = int(self._selection.orbitals)
    self._padding = padded.Padding(0, 0, orbitals, 4)
    self._batch_size = 0

  @functools.cached_property
  def _predict(self):
    return predicting.make_predict(self.config, self)

  @functools.cached_property
  def max_number(self) -> int:
    """The last element that the input knows."""
    return min(p.max_number for p in parts_of(self.config.representation))

  def predict(self, molecules: Sequence[Molecule]) -> Prediction:
    """Predicts molecules, in the mean over `config.eval.rotations`.

    The rotations follow from each molecule's `index`.

    Args:
      molecules: each with what the run's input needs: orbitals, HOMO and LUMO,
        or a density map. Where it lies in its frame does not matter.

    Raises:
      ValueError: there is no molecule, one lacks something or has an element
        that the input does not know, or the run has learned the difference to
        a baseline on GFN2's numbers.
    """
    additive = self._additive()
    batch = self._batch(molecules)
    offset_NT = additive.of(batch.numbers_A, batch.groups_A)
    return self._of_molecules(batch, len(molecules), offset_NT)

  def predict_pack(
    self, source: packed_dataset.Pack, label: str = ''
  ) -> Prediction:
    """Predicts all rows of a pack; the inner function of other commands.

    Args:
      source: the pack, whose `index` draws the rotations.
      label: of the progress bar; '' for none.

    Raises:
      ValueError: the pack lacks what the baseline that is added needs.
    """
    rows, selection = np.arange(len(source)), self._selection
    tight = padded.padding_of(source, rows, selection)
    self._padding = padded.roomier(tight, self._padding)
    memory = self.config.data.memory_gib * 2**30
    molecules = batching.molecules_of(
      source, rows, self._padding, selection, memory
    )
    offset_NT = np.zeros((len(source), len(self.kept.names)))
    if self.kept.delta is not None:
      offset_NT = self.kept.delta.predict(source)
    return self._of_molecules(molecules, len(source), offset_NT, label)

  def apply(self, mol: Molecule) -> jax.Array:
    """Predicts one molecule, as a pure function in float32.

    It can be compiled, mapped over a batch and differentiated with respect to
    coordinates and density. Orbitals follow their atoms with the coefficients
    that they have: a derivative is not one of the self-consistent field.

    Args:
      mol: see `predict`.

    Returns:
      [T], native units, or probabilities: what `predict` has as mean.

    Raises:
      ValueError: see `predict`.
    """
    additive = self._additive()
    mol = self.in_frame(mol)
    inputs = compile_cache.step_inputs(self.config, self.voxelizer)
    variables = {'params': self.kept.params}

    def output(rotation_number):
      voxelize = predicting.turned(
        predicting.motions_of(self.config),
        compile_cache.bare(self.voxelizer),
        rotation_number,
        inputs,
      )
      return self.model.apply(variables, voxelize(mol)[None], train=False)[0]

    rotations = jnp.arange(self.config.eval.rotations, dtype=jnp.uint32)
    output_RT = jax.lax.map(output, rotations)
    if self.kept.classes:
      return jax.nn.sigmoid(output_RT).mean(0)
    scale_T, mean_T = (
      jnp.asarray(x, jnp.float32) for x in (self.kept.scale_T, self.kept.mean_T)
    )
    offset_T = additive.traced(mol.numbers_A, mol.groups_A)
    return output_RT.mean(0) * scale_T + mean_T + offset_T

  def in_frame(self, mol: Molecule) -> Molecule:
    """Returns a molecule as the run sees it: fields, atoms and origin.

    Raises:
      ValueError: it lacks a field that the input reads.
    """
    return self._framed(self._needed(mol, 'the molecule'))

  def _of_molecules(self, molecules, n, offset_NT, label='') -> Prediction:
    self._batch_size = max(self._batch_size, self._batch_size_of(n))
    output_RNT = predicting.all_of(
      self._predict,
      self.kept.params,
      molecules,
      n,
      self.config.eval.rotations,
      self._batch_size,
      label,
    )
    labels = self.kept.labels(offset_NT)
    prediction_RNT = labels.to_native(output_RNT, np.arange(n))
    sd_NT = np.full(prediction_RNT.shape[1:], np.nan)
    if len(prediction_RNT) > 1:
      sd_NT = prediction_RNT.std(0, ddof=1)
    return Prediction(
      self.kept.names, self.kept.units, prediction_RNT.mean(0), sd_NT
    )

  def _batch_size_of(self, n: int) -> int:
    """Returns the size of a batch that few molecules do not leave empty."""
    devices = jax.device_count()
    most = -(-self.config.eval.batch_size // devices) * devices
    return min(most, devices * 2 ** math.ceil(math.log2(-(-n // devices))))

  def _additive(self) -> Additive:
    """Returns the delta baseline as a sum over atoms.

    Raises:
      ValueError: it is none.
    """
    kept = self.kept
    try:
      return Additive.of_regression(kept.delta, len(kept.names))
    except ValueError as error:
      raise ValueError(
        "this run has learned what a baseline on GFN2-xTB's numbers leaves "
        f'(config.data.delta={self.config.data.delta!r}), which a bare '
        'Molecule lacks: predict from files, with --mode predict, or train '
        "with config.data.delta='composition' or ''"
      ) from error

  def _needed(self, mol: Molecule, name: str) -> Molecule:
    """Returns a molecule with the fields alone that the input reads.

    Raises:
      ValueError: it lacks one.
    """
    if not isinstance(mol, Molecule):
      raise ValueError(f'{name} is a {type(mol).__name__}, not a Molecule')
    representation = self.config.representation
    wanted = {
      'orbitals_OL9': needs_orbitals(representation),
      'homo_OL9': needs_frontier(representation),
      'lumo_OL9': needs_frontier(representation),
      'density_map': needs_map(representation),
    }
    for field, is_wanted in wanted.items():
      if is_wanted and getattr(mol, field) is None:
        raise ValueError(
          f"{name} has no {field.removesuffix('_OL9')}, which this run's input "
          f'{", ".join(representation.channels)} needs; '
          'Molecule.from_arrays takes it'
        )
    unread = [field for field, is_wanted in wanted.items() if not is_wanted]
    return dataclasses.replace(
      mol, origin_3=None, **dict.fromkeys(unread, None)
    )

  def _check_points(self, mol: Molecule, name: str) -> None:
    """Refuses densities with cores that are finer than those of training.

    Raises:
      ValueError: sub-points of voxels would miss the cores.
    """
    if 'all_electron' not in self.kept.geometries or mol.density_map is None:
      return
    apart = np.linalg.norm(mol.density_map.steps_33, axis=1).min()
    if apart < CORE_STEP - 1e-3:
      raise ValueError(
        f'{name} has a density with points {apart:.2f} Å apart; those of '
        f'training hold cores, and have {CORE_STEP:g} Å: give it to '
        'data_builders.own.densities.coarsened first, as --mode predict does'
      )

  def _batch(self, molecules: Sequence[Molecule]) -> Molecule:
    """Pads molecules to one shape, and moves them to the frames of the run."""
    molecules = [
      self._needed(mol, f'molecule {i}') for i, mol in enumerate(molecules)
    ]
    if not molecules:
      raise ValueError('there is no molecule to predict')
    for i, mol in enumerate(molecules):
      self._check_points(mol, f'molecule {i}')
      heaviest = int(np.max(mol.numbers_A))
      if heaviest > self.max_number:
        raise ValueError(
          f'molecule {i} has {elements.SYMBOLS[heaviest]}; the input of this '
          f'run knows elements up to {elements.SYMBOLS[self.max_number]}'
        )
      weight_A = origin_weights(
        self.config.data.origin, np.asarray(mol.numbers_A), mol.groups_A
      )
      if not weight_A[np.asarray(mol.mask_A)].any():
        raise ValueError(f'molecule {i} has no heavy ligand atom')
    stacked = jax.tree.map(_padded_stack, *molecules)
    return jax.device_get(jax.jit(jax.vmap(self._framed))(stacked))

  def _framed(self, mol: Molecule) -> Molecule:
    """Selects the atoms that the run sees, in a frame with its origin."""
    table_Z = {
      group: origin_weights(
        self.config.data.origin,
        np.arange(elements.MAX_NUMBER + 1),
        np.full(elements.MAX_NUMBER + 1, group),
      )
      for group in (LIGAND, POCKET)
    }
    weight_A = jnp.where(
      mol.groups_A == LIGAND,
      jnp.asarray(table_Z[LIGAND], jnp.float32)[mol.numbers_A],
      jnp.asarray(table_Z[POCKET], jnp.float32)[mol.numbers_A],
    )
    weight_A = jnp.where(mol.mask_A, weight_A, 0)
    centre_3 = (weight_A[:, None] * mol.coords_A3).sum(0) / weight_A.sum()
    mol = translate(mol, -centre_3)
    seen = [
      {'ligand': LIGAND, 'pocket': POCKET}[p] for p in self._selection.parts
    ]
    is_seen_A = jnp.isin(mol.groups_A, jnp.array(seen))
    return dataclasses.replace(
      mol, numbers_A=jnp.where(is_seen_A, mol.numbers_A, 0)
    )


def _padded_stack(*leaves) -> np.ndarray:
  """Stacks arrays, with zeros at the ends of the shorter ones."""
  leaves = [np.asarray(x) for x in leaves]
  shape = [
    max(lengths) for lengths in zip(*(x.shape for x in leaves), strict=True)
  ]
  stacked = np.zeros((len(leaves), *shape), leaves[0].dtype)
  for i, x in enumerate(leaves):
    stacked[(i, *map(slice, x.shape))] = x
  return stacked
