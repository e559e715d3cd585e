"""X-ray form factors of neutral atoms (IT92) as sums of Gaussians.

f(s) = sum_i a_i exp(-b_i s^2) + c with s = sin(theta)/lambda in 1/Å. An
isotropic displacement parameter B multiplies f by exp(-B s^2), which in real
space blurs the atom: every term becomes a Gaussian that holds a_i electrons
and has the variance (b_i + B)/(8 pi^2). The constant c is the fifth term,
with b = 0: a point, so that B has to be positive.

Arrays are [E, P]: elements by atomic number (entry 0, padding, holds
nothing), and the P = 5 Gaussian terms. Source in tables/it92.json.
"""

import numpy as np

from edjax import arguments
from edjax.chem.elements import read_table

_ROWS = np.array([row[2:] for row in read_table('it92')['elements']])
# Electrons of each term, and its b in Å^2. The padding entry has a = 0 and a
# harmless b.
A_EP = np.concatenate([np.zeros((1, 5)), _ROWS[:, [0, 1, 2, 3, 8]]])
B_EP = np.pad(_ROWS[:, 4:8], ((1, 0), (0, 1)))
B_EP[0] = 1.0


def sigma(b):
  """Returns the width of the Gaussian that a term exp(-b s^2) stands for.

  Args:
    b: b_i + B in Å^2, any shape, numpy or jax.

  Returns:
    sqrt(b / (8 pi^2)) in Å, same shape.
  """
  return (b / (8 * np.pi**2)) ** 0.5


def tied_b_iso(spacing: float) -> float:
  """Returns the B that suits a grid: 8 pi^2/1.1 * spacing^2.

  The rule of the refinement program Refmac, as gemmi documents it
  (`set_refmac_compatible_blur`, https://gemmi.readthedocs.io): the sharpest
  term, c, then has a standard deviation of 0.95 spacings.

  Args:
    spacing: voxel edge, Å.

  Returns:
    B in Å^2.
  """
  return 8 * np.pi**2 / 1.1 * spacing**2


def check_b_iso(b_iso: float) -> float:
  """Returns an isotropic B factor in Å^2 if it is usable.

  Raises:
    ValueError: B is not a finite number above 0; the constant term of the
      form factors is a point without it.
  """
  b_iso = arguments.scalar('b_iso', b_iso)
  if not (np.isfinite(b_iso) and b_iso > 0):
    raise ValueError(
      f'b_iso must be finite and > 0 Å^2, not {b_iso}: the constant term of '
      'the IT92 form factors diverges at an atom as B -> 0'
    )
  return b_iso
