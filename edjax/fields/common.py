"""Parts that fields share: arguments, sums of Gaussians, ligand and pocket."""

import functools
import inspect
import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edjax import arguments
from edjax.chem import form_factors
from edjax.grid import Grid
from edjax.kernels import (
  gaussians,
  gaussians_windowed,
  truncated_gaussians,
)
from edjax.molecule import LIGAND, POCKET, Molecule

# Frames that points may be in.
FRAMES = ('molecule', 'file')


def on_points(field: Callable) -> Callable:
  """Gives a field on points its checks, and the argument `frame`.

  Args:
    field: f(mol, points_G3, **options) of an array in the molecule's frame.

  Returns:
    f(mol, points_G3, *, frame='molecule', **options); points may be lists.
  """

  @functools.wraps(field)
  def evaluate(mol, points_G3, *, frame='molecule', **options):
    _check_one(mol)
    points_G3 = jnp.asarray(
      arguments.array('points_G3', points_G3, ('G', 3)), mol.coords_A3.dtype
    )
    return field(mol, _in_frame(mol, points_G3, frame), **options)

  signature = inspect.signature(field)
  frame = inspect.signature(evaluate, follow_wrapped=False).parameters['frame']
  parameters = [*signature.parameters.values(), frame]
  evaluate.__signature__ = signature.replace(parameters=parameters)
  return evaluate


def _in_frame(mol: Molecule, points_G3: jax.Array, frame: str) -> jax.Array:
  """Returns points of a frame in the molecule's."""
  if frame == 'molecule':
    return points_G3
  if frame != 'file':
    raise ValueError(f'frame must be one of {", ".join(FRAMES)}, not {frame}')
  if mol.origin_3 is None:
    raise ValueError(
      "frame='file' needs origin_3, which Molecule.from_arrays keeps and "
      'molecules of a packed dataset lack'
    )
  return points_G3 - jnp.asarray(mol.origin_3, points_G3.dtype)[None, :]


def on_grid(field: Callable) -> Callable:
  """Gives a field on a grid its checks, and warns of atoms outside.

  Args:
    field: f(mol, grid, supersample=1, **options).
  """

  @functools.wraps(field)
  def evaluate(mol, grid, supersample=1, **options):
    check_box(mol, grid)
    supersample = arguments.whole('supersample', supersample)
    return field(mol, grid, supersample, **options)

  return evaluate


def check_box(mol: Molecule, grid: Grid) -> None:
  """Warns, once a process, where atoms of a ligand lie outside of a grid.

  Where a molecule is traced by jit its coordinates are not known yet. Pockets
  are cut by the box, on purpose.

  Raises:
    ValueError: mol or grid is something else.
  """
  if not isinstance(grid, Grid):
    raise ValueError(f'grid must be a Grid, not a {type(grid).__name__}')
  _check_one(mol)
  atoms = mol.numbers_A, mol.groups_A, mol.coords_A3
  if _warned or any(isinstance(x, jax.core.Tracer) for x in atoms):
    return
  # On the host: within jit, operations on known arrays are traced as well.
  numbers_A, groups_A, coords_A3 = map(np.asarray, atoms)
  of_ligand_A = (numbers_A > 0) & (groups_A == LIGAND)
  outside_A = np.any(np.abs(coords_A3) > grid.extent / 2, axis=1)
  outside = np.sum(outside_A & of_ligand_A)
  if outside:
    _warned.append(True)
    warnings.warn(
      f'{outside} of {of_ligand_A.sum()} atoms lie outside of the box of '
      f'{grid.extent:g} Å; take a larger Grid (this is said once)',
      stacklevel=3,
    )


# Not empty once the warning was given.
_warned = []


def _check_one(mol: Molecule) -> None:
  """Raises ValueError for what is not one molecule."""
  if not isinstance(mol, Molecule):
    raise ValueError(f'mol must be a Molecule, not a {type(mol).__name__}')
  if np.ndim(mol.numbers_A) != 1:
    raise ValueError(
      f'mol is a batch of {len(mol.numbers_A)}; fields take one molecule, and '
      'jax.vmap makes them take a batch'
    )


def splat_grid(
  terms,
  grid: Grid,
  supersample: int,
  sigma: float,
  same: bool = False,
  truncated: bool = False,
) -> jax.Array:
  """Sums Gaussians on a grid; on CPUs at near voxels alone where that pays.

  Args:
    terms: coords_A3, weights_AC and sigma_A.
    grid: voxels.
    supersample: sub-points along each edge of a voxel.
    sigma: a typical standard deviation, Å.
    same: all have this standard deviation.
    truncated: sums `truncated_gaussians` instead.

  Returns:
    vox_XYZC.
  """

  known = float(sigma) if same else None
  sums = truncated_gaussians if truncated else gaussians
  return near_or_whole(
    terms,
    grid,
    sigma,
    near=lambda *t: gaussians_windowed.splat_grid(
      *t, grid, supersample, known, truncated
    ),
    whole=lambda *t: sums.splat_grid(*t, grid, supersample),
    truncated=truncated,
  )


def splat_points(points_G3: jax.Array, terms, truncated: bool) -> jax.Array:
  """Sums Gaussians point by point, values_GC; `terms` as in `splat_grid`."""
  sums = truncated_gaussians if truncated else gaussians
  return sums.splat_points(points_G3, *terms)


def near_or_whole(
  terms, grid: Grid, sigma: float, near, whole, truncated: bool = False
):
  """Evaluates `near` on CPUs where windows pay, else `whole`."""
  channels = terms[1].shape[1]
  if not gaussians_windowed.pays(sigma, grid, channels, truncated):
    return whole(*terms)
  return jax.lax.platform_dependent(*terms, cpu=near, default=whole)


def element_terms(mol: Molecule, weights_Z: np.ndarray, width: float):
  """Returns centres, weights by element and one width, as in `splat_grid`."""
  dtype = mol.coords_A3.dtype
  weights_A1 = jnp.asarray(weights_Z, dtype)[mol.numbers_A, None]
  return mol.coords_A3, weights_A1, jnp.full(mol.numbers_A.shape, width, dtype)


def peak_terms(mol: Molecule, peaks_AC: jax.Array, sigma_A: jax.Array):
  """Returns coordinates, weights and widths of Gaussians with given peaks."""
  weights_AC = peaks_AC * gaussians.peak_to_integral(sigma_A)[:, None]
  return mol.coords_A3, weights_AC, sigma_A


def group_weights(mol: Molecule, groups: bool) -> jax.Array:
  """Returns each atom's share in each group: [A, 2], or [A, 1] of ones."""
  dtype = mol.coords_A3.dtype
  if not groups:
    return jnp.ones((len(mol.numbers_A), 1), dtype)
  both_2 = jnp.array([LIGAND, POCKET])
  return (mol.groups_A[:, None] == both_2[None, :]).astype(dtype)


def apart(values: jax.Array, groups: bool) -> jax.Array:
  """Drops the axis of channels where ligand and pocket are not apart."""
  return values if groups else values[..., 0]


def check_width(name: str, value: float) -> None:
  """Raises ValueError for a width that is not above 0."""
  value = arguments.scalar(name, value)
  if not (np.isfinite(value) and value > 0):
    raise ValueError(f'{name} must be > 0, not {value}')


def grid_b_iso(b_iso: float, grid: Grid) -> float:
  """Returns the B factor in Å^2; for 0, the one tied to the spacing."""
  return form_factors.tied_b_iso(grid.spacing) if b_iso == 0 else b_iso
