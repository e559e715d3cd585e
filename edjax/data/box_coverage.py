"""Checks whether molecules fit into a box in every orientation.

Training and evaluation rotate molecules about the frame's origin, so that the
worst orientation counts. An atom sticks out in some orientation when it is
farther from the origin than half the box's edge. Electrons are those of the
form factors' Gaussians, each with 0.5 Å^2 added to its B (their tails are
longer than those of an xTB density, which errs on the safe side by about a
factor of 2). Their parts outside of a sphere and of a cube are closed forms:
the inscribed sphere gives an upper bound for all orientations at once, and only
molecules that exceed the limit there are rotated. Where training also shifts
molecules along the axes, the worst shift counts as well.

The functions take many padded molecules, in numpy, at a few microseconds each.
"""

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import erf, erfc

from edjax.chem import form_factors, gfn2_occupations
from edjax.grid import Grid

# Share of the valence electrons, which are those of the xTB density. Tails hold
# valence electrons: core electrons stay near their atoms.
MAX_OUTSIDE = 0.005
# Added to the B of every term, Å^2: it makes the form factors' constant a
# peak, 0.08 Å wide, instead of a point, and hardly widens the terms that reach
# far, whose B is 10 and more.
_B_ISO = 0.5
# Uniform, the same for all molecules.
_ORIENTATIONS_R33 = Rotation.random(256, np.random.default_rng(0)).as_matrix()


def farthest_atom(numbers_BA, coords_BA3) -> np.ndarray:
  """Returns the distance of each molecule's farthest atom from the origin.

  Args:
    numbers_BA: atomic numbers, 0 for padding.
    coords_BA3: Å, in the molecules' frames.

  Returns:
    [B], Å.
  """
  numbers_BA, coords_BA3 = _checked(numbers_BA, coords_BA3)
  r_BA = np.sqrt(np.sum(np.square(coords_BA3), axis=-1))
  return np.max(np.where(numbers_BA > 0, r_BA, 0), axis=1)


def electrons_outside_sphere(numbers_BA, coords_BA3, radius) -> np.ndarray:
  """Returns the electrons outside of a sphere about the origin.

  The sphere inscribed in a box gives an upper bound for the box in every
  orientation. A Gaussian of width s at distance d has the part
  (erfc(u+) + erfc(u-))/2 + s/(d sqrt(2 pi)) (exp(-u-^2) - exp(-u+^2)) outside
  of radius R, with u+- = (R +- d)/(sqrt(2) s): the tail of the noncentral chi
  distribution with three degrees of freedom.

  Args:
    numbers_BA: atomic numbers, 0 for padding.
    coords_BA3: Å.
    radius: Å.

  Returns:
    [B], shares of the valence electrons.
  """
  numbers_BA, coords_BA3 = _checked(numbers_BA, coords_BA3)
  mask_BA = numbers_BA > 0
  z_A, xyz_A3 = numbers_BA[mask_BA], coords_BA3[mask_BA]
  # The formula is 0/0 at d = 0; its value there is reached quadratically.
  d_A1 = np.maximum(np.sqrt(np.sum(np.square(xyz_A3), axis=1)), 1e-4)[:, None]
  sigma_AP = form_factors.sigma(form_factors.B_EP + _B_ISO)[z_A]
  minus = (radius - d_A1) / (np.sqrt(2) * sigma_AP)
  plus = (radius + d_A1) / (np.sqrt(2) * sigma_AP)
  outside_AP = (erfc(plus) + erfc(minus)) / 2 + (
    sigma_AP / (np.sqrt(2 * np.pi) * d_A1)
  ) * (np.exp(-(minus**2)) - np.exp(-(plus**2)))
  outside_BA = np.zeros(mask_BA.shape)
  outside_BA[mask_BA] = np.sum(form_factors.A_EP[z_A] * outside_AP, axis=1)
  return outside_BA.sum(axis=1) / _valence(numbers_BA).sum(axis=1)


def electrons_outside_box(
  numbers_A, coords_A3, half_edge: float, translate: float = 0.0
) -> float:
  """Returns the electrons of one molecule outside of a box, at worst.

  It is the worst of 256 uniform orientations, the same for all molecules, each
  evaluated in closed form.

  Args:
    numbers_A: atomic numbers, 0 for padding.
    coords_A3: Å.
    half_edge: half the edge of the box, Å.
    translate: shift of the rotated molecule along each of the axes, Å.

  Returns:
    Share of the valence electrons.
  """
  numbers_1A, coords_1A3 = _checked([numbers_A], [coords_A3])
  z_A = numbers_1A[numbers_1A > 0]
  turned_RA3 = np.einsum(
    'rij,aj->rai', _ORIENTATIONS_R33, coords_1A3[numbers_1A > 0]
  )
  sigma_AP = form_factors.sigma(form_factors.B_EP + _B_ISO)[z_A]
  width_AP1 = np.sqrt(2) * sigma_AP[:, :, None]
  x_RAP3 = turned_RA3[:, :, None, :] + translate
  inside_RAP3 = (
    erf((half_edge - x_RAP3) / width_AP1)
    + erf((half_edge + x_RAP3) / width_AP1)
  ) / 2
  outside_RAP = 1 - np.prod(inside_RAP3, axis=-1)
  outside_R = np.sum(outside_RAP * form_factors.A_EP[z_A], axis=(1, 2))
  return float(outside_R.max() / _valence(z_A).sum())


def outside(
  numbers_BA,
  coords_BA3,
  grid: Grid,
  limit: float = MAX_OUTSIDE,
  translate: float = 0.0,
) -> list[str]:
  """Returns the reasons why molecules do not fit into a grid's box.

  Args:
    numbers_BA: atomic numbers, 0 for padding.
    coords_BA3: Å, in the molecules' frames.
    grid: voxels.
    limit: share of the valence electrons that may be outside in the worst
      orientation.
    translate: largest shift along each axis after a rotation, Å.

  Returns:
    A reason per molecule; '' for one that fits.

  Raises:
    ValueError: a shape does not fit, or translate is negative or not finite.
  """
  numbers_BA, coords_BA3 = _checked(numbers_BA, coords_BA3)
  if not (np.isfinite(translate) and translate >= 0):
    raise ValueError(f'translate must be 0 Å or more, not {translate}')
  half = grid.extent / 2
  radius_B = farthest_atom(numbers_BA, coords_BA3)
  # This sphere stays inside of the box with every shift.
  bound_B = electrons_outside_sphere(
    numbers_BA, coords_BA3, max(half - translate, 0)
  )
  moved = f' when moved by {translate:.2f} Å' if translate else ''
  reasons = []
  for row, (radius, bound) in enumerate(zip(radius_B, bound_B, strict=True)):
    parts = []
    if radius + translate > half:
      parts.append(f'an atom {radius:.2f} Å from the centre of a box of half '
                   f'edge {half:.2f} Å{moved}')  # fmt: skip
    if bound > limit:
      part = electrons_outside_box(
        numbers_BA[row], coords_BA3[row], half, translate
      )
      if part > limit:
        parts.append(f'{100 * part:.2f} % of the electrons outside{moved}')
    reasons.append('; '.join(parts))
  return reasons


def _checked(numbers_BA, coords_BA3) -> tuple[np.ndarray, np.ndarray]:
  numbers_BA = np.asarray(numbers_BA)
  coords_BA3 = np.asarray(coords_BA3, np.float64)
  if numbers_BA.ndim != 2 or coords_BA3.shape != (*numbers_BA.shape, 3):
    raise ValueError(
      f'numbers must be [B, A] and coords [B, A, 3], not '
      f'{list(numbers_BA.shape)} and {list(coords_BA3.shape)}'
    )
  return numbers_BA, coords_BA3


def _valence(numbers: np.ndarray) -> np.ndarray:
  """Returns valence electrons; all electrons beyond Rn, where GFN2 ends."""
  valence = gfn2_occupations.valence_electrons(numbers)
  return np.where(np.isnan(valence), numbers, valence)
