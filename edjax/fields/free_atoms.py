"""Spherical valence densities of free atoms at the level of GFN2-xTB.

Superposed, they are what a deformation density is measured against: the same
basis functions as the molecule's, filled with GFN2's reference occupations
of the neutral atoms (`chem/gfn2_occupations.py`) and averaged over directions.
These are no ground states: carbon has s^1 p^3 and nitrogen s^1.5 p^3.5, as in
a molecule. A deformation density against true ground states would have a part
of this promotion too.
A shell of occupation n contributes n/(2l+1) * sum_m chi_m(r)^2. With R =
sum_p c_p exp(-a_p r^2) the sum is R^2, R^2 r^2 and R^2 r^4/3 for s, p and d:
Gaussians times powers of r^2, which are separable.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

from edjax.chem import gfn2_basis
from edjax.chem.gfn2_occupations import occupations
from edjax.chem.units import BOHR_A
from edjax.fields.common import on_grid, on_points
from edjax.grid import Grid
from edjax.kernels import gaussians
from edjax.kernels.numerics import HIGHEST
from edjax.molecule import Molecule


@functools.cache
def _terms() -> tuple[np.ndarray, np.ndarray]:
  """Returns the Gaussian terms of the density of each element, by l.

  Returns:
    exponents [Z, 3, P] in Å^-2 and factors [Z, 3, P] in e/Å^(3 + 2l) of
    r^(2l) exp(-exponent r^2); P runs over pairs of primitives. NaN beyond Rn.
  """
  exponents_Z3P, coefficients_Z3P = gfn2_basis.tables()
  i, j = np.triu_indices(exponents_Z3P.shape[2])
  factors = coefficients_Z3P[..., i] * coefficients_Z3P[..., j]
  factors = np.where(i == j, 1, 2) * factors
  # n/(2l+1), and the 1/3 of r^4/3.
  factors = factors * (occupations() / [1, 3, 5 * 3])[:, :, None]
  exponents = exponents_Z3P[..., i] + exponents_Z3P[..., j]
  powers = np.array([3, 5, 7])[None, :, None]
  return exponents / BOHR_A**2, factors / BOHR_A**powers


@on_points
def free_atoms_density(mol: Molecule, points_G3: jax.Array) -> jax.Array:
  """Superposes valence densities of free atoms, point by point.

  An orbital density is compared with this promolecule: both are as sharp, and
  neither has core electrons.

  Args:
    mol: orbitals are not needed; an element beyond Rn gives NaN.
    points_G3: Å.

  Returns:
    rho_G, e/Å^3.
  """
  exponents_A3P, factors_A3P = _gather(mol)

  def at(point_3):
    r2_A = jnp.sum((point_3[None, :] - mol.coords_A3) ** 2, axis=1)
    values_A3P = jnp.exp(-exponents_A3P * r2_A[:, None, None])
    shells_AL = jnp.sum(factors_A3P * values_A3P, axis=2)
    powers = [r2_A**l for l in range(shells_AL.shape[1])]
    return sum(jnp.sum(shells_AL[:, l] * r) for l, r in enumerate(powers))

  return jax.vmap(at)(jnp.asarray(points_G3, mol.coords_A3.dtype))


@on_grid
def free_atoms_density_grid(
  mol: Molecule, grid: Grid, supersample: int = 1
) -> jax.Array:
  """Evaluates `free_atoms_density` on a grid, separably: rho_XYZ."""
  exponents, factors = _gather(mol)
  n_atoms, n_l, n_terms = exponents.shape
  atom_K = jnp.repeat(jnp.arange(n_atoms), n_terms)
  rows = [
    (atom_K, exponents[:, l].reshape(-1), factors[:, l].reshape(-1))
    for l in range(n_l)
  ]
  full = functools.partial(_grid_sum, mol.coords_A3, grid, supersample)
  return jax.lax.platform_dependent(
    rows, cpu=functools.partial(_tight, full), default=full
  )


def _gather(mol: Molecule) -> tuple[jax.Array, jax.Array]:
  """Returns the terms of each atom, without d where the orbitals have none."""
  without_d = mol.orbitals_OL9 is not None and mol.orbitals_OL9.shape[-1] == 4
  n_l = 2 if without_d else 3
  return tuple(
    jnp.asarray(table[:, :n_l], mol.coords_A3.dtype)[mol.numbers_A]
    for table in _terms()
  )


# Rows to keep on a CPU, per atom and l: enough for C9H20.
_ROOM = (8, 4, 2)


def _tight(full, rows):
  """Calls `full` without most of the empty rows, where the others fit.

  Hydrogen, padding and light elements leave most rows empty.
  """
  n_atoms = rows[0][0].size // _terms()[0].shape[2]
  sizes = [room * n_atoms for room in _ROOM[: len(rows)]]
  counts = [jnp.sum(row[2] != 0) for row in rows]
  fits = functools.reduce(
    operator.and_, [n <= size for n, size in zip(counts, sizes, strict=True)]
  )

  def compact(rows):
    packed = []
    for row, size in zip(rows, sizes, strict=True):
      (place,) = jnp.nonzero(row[2] != 0, size=size, fill_value=-1)
      atom, exponent, factor = (x[place] for x in row)
      packed.append((atom, exponent, jnp.where(place < 0, 0, factor)))
    return full(packed)

  return jax.lax.cond(fits, compact, full, rows)


def _grid_sum(coords_A3, grid: Grid, supersample: int, rows) -> jax.Array:
  """Sums Gaussians times r^(2l) over l: rows of (atom, exponent, factor)."""
  left, right = [], []
  for l, (atom_K, exponent_K, factor_K) in enumerate(rows):
    d2 = gaussians.offsets(coords_A3[atom_K], grid, supersample) ** 2
    line = jnp.exp(-exponent_K[None, None, :] * d2)
    # x^(2n) exp(-a x^2) for n up to l, means over sub-points taken.
    powers = [
      gaussians.pool_lines(line * d2**n, supersample) for n in range(l + 1)
    ]
    # r^(2l) = sum_n binomial(l, n) (x^2 + y^2)^(l-n) z^(2n)
    for n in range(l + 1):
      left.append(_cylinder(powers, l - n))
      right.append(_BINOMIAL[l][n] * factor_K[None, :] * powers[n][2])
  size = grid.size
  xy = jnp.concatenate(left, axis=-1).reshape(size * size, -1)
  z = jnp.concatenate(right, axis=-1)
  rho = jnp.matmul(xy, z.T, precision=HIGHEST)
  return rho.reshape(size, size, size)


_BINOMIAL = ((1,), (1, 1), (1, 2, 1))


def _cylinder(powers: list, n: int) -> jax.Array:
  """Computes (x^2 + y^2)^n exp(-a (x^2 + y^2)): [X, Y, A*P]."""
  return sum(
    _BINOMIAL[n][m] * powers[m][0][:, None, :] * powers[n - m][1][None, :, :]
    for m in range(n + 1)
  )
