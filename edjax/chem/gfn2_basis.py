"""The atomic orbitals of GFN2-xTB, H to Rn: tables, order, overlaps (numpy).

Each shell is a contraction of Gaussians (Slater exponents of C. Bannwarth,
S. Ehlert, S. Grimme, J. Chem. Theory Comput. 2019, 15, 1652, expanded after
R. F. Stewart, J. Chem. Phys. 1970, 52, 431; `tables/gfn2_basis.json`). No
element has two shells of the same l, none has l > 2: the slots of
`molecule.AO_SLOTS` hold them all.

Two orders of atomic orbitals occur: tblite's (version 0.8.0: atoms in input
order; shells as the table lists them, with 3d first for Sc to Ni; p as y, z,
x; d as xy, yz, z2, xz, x2-y2), in which coefficients and overlaps arrive, and
the slots, in which edjax keeps them.
"""

import functools
from typing import NamedTuple

import numpy as np

from edjax.chem import elements
from edjax.chem.units import BOHR_A

MAX_NUMBER = 86
MAX_L = 2
# Where tblite has the functions of a shell, in the order of the slots.
_PLACES = ((0,), (2, 0, 1), (0, 1, 2, 3, 4))
FIRST_SLOT = (0, 1, 4)
# The monomials x^i y^j z^k of each l ...
MONOMIALS = (
  ((0, 0, 0),),
  ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
  ((1, 1, 0), (0, 1, 1), (1, 0, 1), (2, 0, 0), (0, 2, 0), (0, 0, 2)),
)
# ... and the functions in them, in the order of the slots. All have the norm
# of x (p) and xy (d): z2 is (2zz - xx - yy)/sqrt(12), x2-y2 is (xx - yy)/2.
_Z2 = 1 / np.sqrt(12)
FUNCTIONS = (
  np.eye(1),
  np.eye(3),
  np.array(
    [
      [1, 0, 0, 0, 0, 0],
      [0, 1, 0, 0, 0, 0],
      [0, 0, 0, -_Z2, -_Z2, 2 * _Z2],
      [0, 0, 1, 0, 0, 0],
      [0, 0, 0, 0.5, -0.5, 0],
    ]
  ),
)


class Shell(NamedTuple):
  """One contracted shell.

  Attributes:
    name: '2s', '3d', ...
    l: 0, 1, 2.
    exponents_P: bohr^-2.
    coefficients_P: multiply r^l exp(-a r^2), in the sense of the class of
      functions 1; x, y, z; xy, yz, (2zz - xx - yy)/sqrt(12), xz,
      (xx - yy)/2. They include the normalisation of the primitives and the
      scaling of the contraction to unit self-overlap.
  """

  name: str
  l: int
  exponents_P: np.ndarray
  coefficients_P: np.ndarray


class Tables(NamedTuple):
  """The shells of H to Cf by atomic number, l and primitive.

  Row 0 stands for padding. Rows beyond Rn are NaN, so that orbitals of an
  element outside the basis never give a number.

  Attributes:
    exponents_Z3P: bohr^-2; 1 where there is no shell.
    coefficients_Z3P: see Shell; 0 where there is no shell.
  """

  exponents_Z3P: np.ndarray
  coefficients_Z3P: np.ndarray


@functools.cache
def shells(z: int) -> tuple[Shell, ...]:
  """Returns the shells of an element in the order of the table (and of tblite).

  Args:
    z: atomic number, 1 to 86.

  Raises:
    ValueError: GFN2-xTB has no such element.
  """
  if not 1 <= z <= MAX_NUMBER:
    raise ValueError(
      f'GFN2-xTB has no basis for atomic number {z} (it covers H to Rn, 1 to '
      f'{MAX_NUMBER}): leave out the orbitals of this molecule'
    )
  table = elements.read_table('gfn2_basis')
  rows = table['elements'][elements.SYMBOLS[z]]
  return tuple(
    Shell(
      row['shell'],
      row['l'],
      np.array(row['exponents']),
      _normalised(row['l'], row['exponents'], row['coefficients']),
    )
    for row in rows
  )


@functools.cache
def tables() -> Tables:
  """Gathers the shells of all elements."""
  every = [(z, s) for z in range(1, MAX_NUMBER + 1) for s in shells(z)]
  width = max(len(s.exponents_P) for _, s in every)
  exponents_Z3P = np.ones((elements.MAX_NUMBER + 1, MAX_L + 1, width))
  coefficients_Z3P = np.zeros_like(exponents_Z3P)
  exponents_Z3P[MAX_NUMBER + 1 :] = np.nan
  coefficients_Z3P[MAX_NUMBER + 1 :] = np.nan
  for z, shell in every:
    n = len(shell.exponents_P)
    exponents_Z3P[z, shell.l, :n] = shell.exponents_P
    coefficients_Z3P[z, shell.l, :n] = shell.coefficients_P
  return Tables(exponents_Z3P, coefficients_Z3P)


def to_slots(numbers, coefficients_KO) -> np.ndarray:
  """Brings orbital coefficients from tblite's order into slots.

  Args:
    numbers: [L] atomic numbers, 1 to 86.
    coefficients_KO: one column per orbital, in tblite's order; multiplied by
      sqrt(occupation) where a density is wanted.

  Returns:
    orbitals_OL9, or [O, L, 4] where no atom has d functions.

  Raises:
    ValueError: an element beyond Rn, or a number of rows that is not that of
      the basis functions.
  """
  numbers = elements.check_numbers(numbers)
  coefficients_KO = np.asarray(coefficients_KO)
  atom_K, slot_K = _slots(tuple(numbers.tolist()))
  if coefficients_KO.ndim != 2 or len(coefficients_KO) != len(atom_K):
    raise ValueError(
      f'coefficients must be [{len(atom_K)}, O] for these atoms, not '
      f'{list(coefficients_KO.shape)}'
    )
  width = 9 if (slot_K > 3).any() else 4
  orbitals_OL9 = np.zeros(
    (coefficients_KO.shape[1], len(numbers), width), coefficients_KO.dtype
  )
  orbitals_OL9[:, atom_K, slot_K] = coefficients_KO.T
  return orbitals_OL9


def overlap(numbers, coords) -> np.ndarray:
  """Overlaps of the atomic orbitals, closed form, float64.

  The product of two Gaussians is a Gaussian about a point P between their
  centres; the integrals over the monomials about it are its moments
  (T. Helgaker, P. Jørgensen, J. Olsen, Molecular Electronic-Structure Theory,
  2000, section 9.2). Work is by blocks of l, vectorised over primitives.

  Args:
    numbers: [A] atomic numbers, 1 to 86.
    coords: [A, 3], Å.

  Returns:
    overlap_KK in tblite's order.

  Raises:
    ValueError: an element beyond Rn, or a shape that does not fit.
  """
  numbers = elements.check_numbers(numbers)
  coords_A3 = elements.check_rows('coords', coords, (len(numbers), 3)) / BOHR_A
  blocks = _blocks(tuple(numbers.tolist()))
  size = sum(block.where_K.size for block in blocks)
  overlap_KK = np.empty((size, size))
  for i, left in enumerate(blocks):
    for right in blocks[i:]:
      values = _block_overlap(left, right, coords_A3)
      overlap_KK[np.ix_(left.where_K, right.where_K)] = values
      overlap_KK[np.ix_(right.where_K, left.where_K)] = values.T
  return overlap_KK


class _Block(NamedTuple):
  """All primitives of one l in a molecule, sorted by shell."""

  l: int
  atom_P: np.ndarray
  exponents_P: np.ndarray
  coefficients_P: np.ndarray
  sums_SP: np.ndarray  # 1 where a primitive belongs to a shell
  where_K: np.ndarray  # shell by shell: places in tblite's order


def _normalised(l, exponents, coefficients) -> np.ndarray:
  """Coefficients of r^l exp(-a r^2) for a contraction of norm 1.

  A normalised primitive has the factor (2a/pi)^(3/4) (2 sqrt(a))^l for each
  of the functions 1, x, xy; two of them on one centre overlap by
  (2 sqrt(ab)/(a + b))^(l + 3/2).
  """
  a = np.array(exponents)
  c = np.array(coefficients)
  overlap_PP = (2 * np.sqrt(np.outer(a, a)) / (a[:, None] + a)) ** (l + 1.5)
  c = c / np.sqrt(c @ overlap_PP @ c)
  return c * (2 * a / np.pi) ** 0.75 * (2 * np.sqrt(a)) ** l


@functools.cache
def _element_slots(z: int) -> tuple[int, ...]:
  """Slots of an element's functions, in tblite's order."""
  return tuple(
    FIRST_SLOT[s.l] + int(i)
    for s in shells(z)
    for i in np.argsort(_PLACES[s.l])
  )


@functools.lru_cache(maxsize=1024)
def _slots(numbers: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
  """Returns atom and slot of each atomic orbital in tblite's order."""
  each = [_element_slots(z) for z in numbers]
  atom_K = np.repeat(np.arange(len(each)), [len(slots) for slots in each])
  return atom_K, np.array([slot for slots in each for slot in slots])


@functools.lru_cache(maxsize=1024)
def _blocks(numbers: tuple[int, ...]) -> tuple[_Block, ...]:
  shells_of_l = [[] for _ in range(MAX_L + 1)]
  place = 0
  for atom, z in enumerate(numbers):
    for shell in shells(z):
      shells_of_l[shell.l].append((atom, shell, place))
      place += 2 * shell.l + 1
  return tuple(
    _Block(
      l,
      np.repeat([f[0] for f in some], [len(f[1].exponents_P) for f in some]),
      np.concatenate([f[1].exponents_P for f in some]),
      np.concatenate([f[1].coefficients_P for f in some]),
      np.repeat(
        np.eye(len(some)), [len(f[1].exponents_P) for f in some], axis=1
      ),
      np.concatenate([f[2] + np.array(_PLACES[l]) for f in some]),
    )
    for l, some in enumerate(shells_of_l)
    if some
  )


def _block_overlap(left: _Block, right: _Block, coords_A3) -> np.ndarray:
  """Overlaps of the shells of two blocks, [left.where_K, right.where_K]."""
  a = left.exponents_P[:, None]
  b = right.exponents_P
  p = a + b
  apart_3PP = (
    coords_A3.T[:, left.atom_P, None] - coords_A3.T[:, None, right.atom_P]
  )
  q = np.pi / p  # a power of 1.5 would take as long as all the rest
  r2_PP = np.einsum('ist,ist->st', apart_3PP, apart_3PP)
  factor_PP = np.exp(-a * b / p * r2_PP) * (q * np.sqrt(q))
  factor_PP *= left.coefficients_P[:, None] * right.coefficients_P
  moments = _moments(
    left.l, right.l, -b / p * apart_3PP, a / p * apart_3PP, 0.5 / p
  )
  products = [
    [
      _product(factor_PP, [moments[i, j] for i, j in zip(m, n, strict=True)])
      for n in MONOMIALS[right.l]
    ]
    for m in MONOMIALS[left.l]
  ]
  values = left.sums_SP @ np.array(products) @ right.sums_SP.T
  if left.l == MAX_L:  # up to there every monomial is a function
    values = np.einsum('um,mnst->unst', FUNCTIONS[left.l], values)
  if right.l == MAX_L:
    values = np.einsum('mnst,vn->mvst', values, FUNCTIONS[right.l])
  values = values.transpose(2, 0, 3, 1)
  return values.reshape(left.where_K.size, right.where_K.size)


def _product(factor_PP, moments) -> np.ndarray:
  """Multiplies factor_PP by moments along x, y and z (None stands for 1)."""
  for axis, moment in enumerate(moments):
    if moment is not None:
      factor_PP = factor_PP * moment[axis]
  return factor_PP


def _moments(l, m, u_3PP, v_3PP, h_PP) -> dict:
  """Means of (x - A)^i (x - B)^j over the product Gaussian, per axis.

  Args:
    l: largest i, up to 2.
    m: largest j, up to 2.
    u_3PP: P - A, bohr, where P is the centre of the product.
    v_3PP: P - B.
    h_PP: variance of the product Gaussian, 1/(2(a + b)).

  Returns:
    {(i, j): [3, P, P]}; None stands for 1.
  """
  u, v, h = u_3PP, v_3PP, h_PP
  moments = {(0, 0): None}
  if l >= 1:
    moments[1, 0] = u
  if m >= 1:
    moments[0, 1] = v
  if l >= 1 and m >= 1:
    moments[1, 1] = u * v + h
  if l >= 2:
    moments[2, 0] = u * u + h
  if m >= 2:
    moments[0, 2] = v * v + h
  if l >= 2 and m >= 1:
    moments[2, 1] = u * u * v + h * (2 * u + v)
  if l >= 1 and m >= 2:
    moments[1, 2] = u * v * v + h * (u + 2 * v)
  if l >= 2 and m >= 2:
    moments[2, 2] = (u * v) ** 2 + h * (u * u + 4 * u * v + v * v) + 3 * h * h
  return moments
