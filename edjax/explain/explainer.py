"""Explains a network's output: what each atom, and each place, contributes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from edjax import geometry
from edjax.chem import form_factors
from edjax.evaluate import predicting
from edjax.explain import integrated_gradients, references, stockholder
from edjax.molecule import Molecule
from edjax.predict import Model
from edjax.runtime import compile_cache


class Explanation(NamedTuple):
  """What makes the outputs for a molecule differ from those for a reference.

  Numbers are means over the rotations of the run's evaluation, in the units of
  the targets (of classes, in log odds). Contributions, `rest_T` included, add
  up to output_T - reference_T, as far as the quadrature is exact.

  Attributes:
    output_T: of the network, without a baseline that is added to it.
    reference_T: the same of the reference.
    contribution_AT: of atoms, by Hirshfeld's weights; 0 on padding.
    sd_AT: standard deviation over rotations; NaN for a single one.
    rest_T: contribution of places that are far from all atoms.
    cells_RTXYZ: contribution of each cell of a grid, in each rotation.
    spacing: of the grid, Å.
    rotation_R33: of the molecule, about its origin.
    shift_R3: after the rotation, Å.
    origin_3: the origin in the frame of the molecule that was given, Å.
  """

  output_T: np.ndarray
  reference_T: np.ndarray
  contribution_AT: np.ndarray
  sd_AT: np.ndarray
  rest_T: np.ndarray
  cells_RTXYZ: np.ndarray
  spacing: float
  rotation_R33: np.ndarray
  shift_R3: np.ndarray
  origin_3: np.ndarray

  @property
  def sum_T(self) -> np.ndarray:
    """The sum of all contributions."""
    return self.contribution_AT.sum(0) + self.rest_T

  @property
  def missed_T(self) -> np.ndarray:
    """What the contributions miss of the difference: 0 for exact integrals."""
    return self.output_T - self.reference_T - self.sum_T

  def density(self, points_G3) -> np.ndarray:
    """Returns contributions per Å^3 at points, in the mean over rotations.

    Args:
      points_G3: in the frame of the molecule that was given, Å.

    Returns:
      [G, T], interpolated linearly; 0 outside of the grid.
    """
    points_G3 = np.asarray(points_G3) - self.origin_3
    last = (self.cells_RTXYZ.shape[-1] - 1) / 2
    sum_GT = 0
    for cells_TXYZ, rotation_33, shift_3 in zip(
      self.cells_RTXYZ, self.rotation_R33, self.shift_R3, strict=True
    ):
      moved_G3 = points_G3 @ rotation_33.T + shift_3
      index_3G = moved_G3.T / self.spacing + last
      looked_up = [
        ndimage.map_coordinates(cells_XYZ, index_3G, order=1)
        for cells_XYZ in cells_TXYZ
      ]
      sum_GT = sum_GT + np.stack(looked_up, -1)
    return sum_GT / len(self.cells_RTXYZ) / self.spacing**3


_PLACES = {
  references.FREE_ATOMS: integrated_gradients.EVEN,
  references.EMPTY: integrated_gradients.GEOMETRIC,
}


class Explainer:
  """Explains molecules, by integrated gradients from one reference.

  Args:
    model: of a finished run.
    reference: a name of `references.of(model.voxelizer)`.

  Raises:
    ValueError: the run's input has no such reference.
  """

  def __init__(self, model: Model, reference: str):
    self.model = model
    self._voxelizer = compile_cache.bare(model.voxelizer)
    self._start = references.raw(self._voxelizer, reference)
    self._places_S = _PLACES[reference]
    fine = any(self._voxelizer.at_sub_points)
    supersample = self._voxelizer.options.supersample if fine else 1
    self.grid = self._voxelizer.grid.refine(supersample)
    self._of_rotations = jax.jit(self._rotations)

  def __call__(self, mol: Molecule) -> Explanation:
    """Explains one molecule.

    Args:
      mol: see `Model.predict`; the model may add a regression on GFN2's
        numbers, which is not part of this.

    Raises:
      ValueError: the molecule lacks what the run's input needs.
    """
    framed = self.model.in_frame(mol)
    found = jax.device_get(self._of_rotations(framed))
    output_RT, reference_RT, parts_RTA, rest_RT, cells, rotation, shift = found
    sd_AT = np.full(parts_RTA.shape[:0:-1], np.nan)
    if len(parts_RTA) > 1:
      sd_AT = parts_RTA.std(0, ddof=1).T
    return Explanation(
      output_T=output_RT.mean(0),
      reference_T=reference_RT.mean(0),
      contribution_AT=parts_RTA.mean(0).T,
      sd_AT=sd_AT,
      rest_T=rest_RT.mean(0),
      cells_RTXYZ=cells,
      spacing=self.grid.spacing,
      rotation_R33=rotation,
      shift_R3=shift,
      origin_3=np.asarray(mol.coords_A3[0] - framed.coords_A3[0]),
    )

  def _rotations(self, mol: Molecule):
    """Returns the results of each rotation."""
    numbers = jnp.arange(self.model.config.eval.rotations, dtype=jnp.uint32)
    return jax.lax.map(lambda number: self._rotation(mol, number), numbers)

  def _rotation(self, mol: Molecule, number: jax.Array):
    motions = predicting.motions_of(self.model.config)
    key = predicting.motion_key(np.uint32(self.model.config.train.seed), number)
    moved = geometry.random_motion(key, mol, motions)
    end = self._voxelizer.raw(moved)
    attributions, output_T, reference_T = integrated_gradients.integrate(
      self._output, self._transform, self._start(moved, end), end,
      self._places_S,
    )  # fmt: skip
    cells_TXYZ = self._on_one_grid(attributions)
    b_iso = form_factors.tied_b_iso(self.grid.spacing)
    parts_TA, rest_T = jax.vmap(
      lambda cells_XYZ: stockholder.shares(moved, cells_XYZ, self.grid, b_iso)
    )(cells_TXYZ)
    rotation_33, shift_3 = geometry.drawn_motion(key, mol.index, motions)
    if rotation_33 is None:
      rotation_33 = jnp.eye(3)
    if shift_3 is None:
      shift_3 = jnp.zeros(3)
    return (
      output_T, reference_T, parts_TA, rest_T, cells_TXYZ, rotation_33, shift_3
    )  # fmt: skip

  def _transform(self, raw):
    scale_C = jnp.asarray(self.model.kept.scale_C, jnp.float32)
    return self._voxelizer.transformed(raw, scale_C)

  def _output(self, values) -> jax.Array:
    """Returns the network's outputs in the units of the targets, [T]."""
    kept = self.model.kept
    vox_XYZC = self._voxelizer.means(values)
    output_T = self.model.model.apply(
      {'params': kept.params}, vox_XYZC[None], train=False
    )[0]
    scale_T, mean_T = (
      jnp.asarray(x, jnp.float32) for x in (kept.scale_T, kept.mean_T)
    )
    return output_T * scale_T + mean_T

  def _on_one_grid(self, attributions) -> jax.Array:
    """Adds channels up, those of whole voxels spread over their sub-points."""
    total = 0
    for values_TXYZ in jax.tree.leaves(attributions):
      times = self.grid.size // values_TXYZ.shape[1]
      for axis in (1, 2, 3):
        values_TXYZ = jnp.repeat(values_TXYZ, times, axis) / times
      total = total + values_TXYZ
    return total
