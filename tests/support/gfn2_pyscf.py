"""GFN2-xTB's basis in PySCF, whose integrals judge fields of orbitals."""

import numpy as np

from edjax.chem import elements, gfn2_basis, units


def molecule(numbers, coords):
  """Returns PySCF's molecule with the basis of GFN2-xTB.

  Args:
    numbers: [A] atomic numbers.
    coords: [A, 3], Å.
  """
  from pyscf import gto

  names = [f'{elements.SYMBOLS[z]}{a}' for a, z in enumerate(numbers)]
  basis = {
    name: [
      [s.l, *_primitives(s)]
      for s in sorted(gfn2_basis.shells(int(z)), key=lambda s: s.l)
    ]
    for name, z in zip(names, numbers, strict=True)
  }
  places = np.asarray(coords) / units.BOHR_A
  return gto.M(
    atom=list(zip(names, places, strict=True)),
    basis=basis,
    unit='Bohr',
    spin=None,
    verbose=0,
  )


def coefficients(numbers, orbitals_OL9) -> np.ndarray:
  """Returns orbitals in PySCF's order of functions, [O, K], float64."""
  # Of every atom s before p before d, as the slots.
  places = [
    (a, slot)
    for a, z in enumerate(numbers)
    for slot in range(sum(2 * s.l + 1 for s in gfn2_basis.shells(int(z))))
  ]
  atom_K, slot_K = np.array(places).T
  return np.asarray(orbitals_OL9, np.float64)[:, atom_K, slot_K]


def _primitives(shell):
  """As normalised primitives, which is what PySCF expects."""
  a = shell.exponents_P
  norm = (2 * a / np.pi) ** 0.75 * (2 * np.sqrt(a)) ** shell.l
  return [
    list(pair) for pair in zip(a, shell.coefficients_P / norm, strict=True)
  ]
