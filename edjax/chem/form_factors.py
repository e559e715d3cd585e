"""X-ray form factors of neutral atoms (IT92) as sums of Gaussians.

f(s) = sum_i a_i exp(-b_i s^2) + c with s = sin(theta)/lambda in 1/Å. An
isotropic displacement parameter B multiplies f by exp(-B s^2), which in real
space blurs the atom: every term becomes a Gaussian that holds a_i electrons
and has the variance (b_i + B)/(8 pi^2). The constant c is the fifth term,
with b = 0: a point, so that B has to be positive.

Arrays are [E, P]: elements by atomic number (entry 0, padding, holds
nothing), and the P = 5 Gaussian terms. Source in tables/it92.json.
"""

import functools
import importlib.resources
import json

import numpy as np

from edjax.chem import elements

# The fit holds for 0 <= s < 2 1/Å (International Tables C, 6.1.1.4).
MAX_S = 2.0


@functools.cache
def _table() -> dict:
  path = importlib.resources.files('edjax.chem') / 'tables' / 'it92.json'
  return json.loads(path.read_text(encoding='utf-8'))


_ROWS = np.array([row[2:] for row in _table()['elements']])
# Electrons of each term, and its b in Å^2. The padding entry has a = 0 and a
# harmless b.
A_EP = np.concatenate([np.zeros((1, 5)), _ROWS[:, [0, 1, 2, 3, 8]]])
B_EP = np.pad(_ROWS[:, 4:8], ((1, 0), (0, 1)))
B_EP[0] = 1.0


def electrons(numbers) -> np.ndarray:
  """Electrons that the form factors give each atom: sum(a) + c.

  It is the atomic number within 0.2 %.

  Args:
    numbers: [...] atomic numbers, 0 for padding.

  Returns:
    [...], same shape.
  """
  return A_EP.sum(axis=1)[np.asarray(numbers)]


def sigma(b):
  """Standard deviation of the Gaussian that a term exp(-b s^2) stands for.

  Args:
    b: b_i + B in Å^2, any shape, numpy or jax.

  Returns:
    sqrt(b / (8 pi^2)) in Å, same shape.
  """
  return (b / (8 * np.pi**2)) ** 0.5


def tied_b_iso(spacing: float) -> float:
  """B that makes atoms broad enough for a grid: 8 pi^2/1.1 * spacing^2.

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
  if not (np.isfinite(b_iso) and b_iso > 0):
    raise ValueError(
      f'b_iso must be finite and > 0 Å^2, not {b_iso}: the constant term of '
      'the IT92 form factors diverges at an atom as B -> 0'
    )
  return float(b_iso)


def scattering_factor(number: int, s) -> np.ndarray:
  """Returns the form factor f(s) of a neutral atom.

  Args:
    number: atomic number.
    s: sin(theta)/lambda in 1/Å, any shape.

  Returns:
    f in electrons, shape of s.

  Raises:
    ValueError: unknown element, or s outside of the fit's range.
  """
  z = int(elements.check_numbers([number])[0])
  s = np.asarray(s, np.float64)
  if not ((s >= 0) & (s < MAX_S)).all():
    raise ValueError(f'the fit holds for 0 <= s < {MAX_S} 1/Å')
  return np.exp(-np.square(s)[..., None] * B_EP[z]) @ A_EP[z]


def atom_density(number: int, r, b_iso: float) -> np.ndarray:
  """Density of one blurred neutral atom, by the textbook formula.

  rho(r) = sum_i a_i (4 pi/(b_i + B))^1.5 exp(-4 pi^2 r^2/(b_i + B)).

  Args:
    number: atomic number.
    r: distances in Å, any shape.
    b_iso: isotropic B factor, Å^2, above 0.

  Returns:
    e/Å^3, shape of r.

  Raises:
    ValueError: unknown element, or B is not above 0.
  """
  z = int(elements.check_numbers([number])[0])
  b_P = B_EP[z] + check_b_iso(b_iso)
  r = np.asarray(r, np.float64)
  peaks_P = A_EP[z] * (4 * np.pi / b_P) ** 1.5
  return np.exp(-4 * np.pi**2 * np.square(r)[..., None] / b_P) @ peaks_P
