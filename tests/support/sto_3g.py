"""Hydrogen's published STO-3G shell, as GFN2-xTB has it."""

import numpy as np

# STO-3G of Slater exponent 1 (W. J. Hehre, R. F. Stewart, J. A. Pople, J. Chem.
# Phys. 1969, 51, 2657), scaled to 1.23.
EXPONENTS = np.array([2.227660584, 0.405771156, 0.109818]) * 1.23**2
COEFFICIENTS = np.array([0.154328967, 0.535328142, 0.444634542])


def gaussians(r: np.ndarray) -> np.ndarray:
  """Returns the normalised primitives at distances r in bohr, [r, 3]."""
  norms = (2 * EXPONENTS / np.pi) ** 0.75
  return np.exp(-np.outer(r**2, EXPONENTS)) * norms
