"""GFN2-xTB by tblite: orbitals, their energies, energy, dipole and gap.

C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 2019, 15, 1652.
"""

import functools
import hashlib
import importlib.metadata
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_builders.support import result_cache
from data_builders.support import worker_pool as workers_lib
from edjax import arguments
from edjax.chem import elements, gfn2_basis, gfn2_occupations, units

METHOD = 'GFN2-xTB'
# Orbitals with fewer electrons than this are left out: at 300 K the Fermi
# function passes it about 0.5 eV above the Fermi level; what is lost is below
# the rounding of float32.
MIN_OCCUPATION = 1e-8
# tblite and gfn2_basis agree within 2e-10; another order of the orbitals or
# another basis shows at 1e-2 and more.
_OVERLAP_TOLERANCE = 1e-6
_ELECTRON_TOLERANCE = 1e-6
_MIN_DISTANCE_A = 0.3
# eV within which orbitals count as degenerate with HOMO or LUMO. In 800 of the
# geometries of QM9, levels that symmetry makes equal lie up to 1.7e-3 eV apart,
# others at least 6e-3 eV.
DEGENERATE = 3e-3


class XtbError(RuntimeError):
  """A calculation failed, or its result is not what edjax relies on."""


class XtbResult(NamedTuple):
  """Results of one calculation.

  Attributes:
    orbitals: orbitals_OL9 (or [O, A, 4] without d functions), float32:
      sqrt(occupation) * coefficient, bohr^-3/2, slots of molecule.AO_SLOTS.
      Occupations are those of tblite's 300 K electronic temperature: small
      gaps have fractional ones.
    n_electrons: valence electrons.
    energy: total energy, Ha.
    dipole: [3], D, from minus to plus. A charged molecule's dipole refers to
      the origin of the coordinates given.
    gap: lowest unoccupied minus highest occupied orbital energy, eV; NaN
      where the basis has no unoccupied orbital.
    orbital_energies: [K], eV, ascending.
    n_filled: number of orbitals up to the highest occupied one.
    homo: [H, A, 9] (or 4), float32: coefficients / sqrt(H) of the H orbitals
      whose energy is that of the highest occupied one (within `DEGENERATE`).
      The sum of their squares holds one electron. One of several degenerate
      orbitals is an accident of the program; their sum turns with the molecule.
    lumo: [U, A, 9] (or 4), the same of the lowest unoccupied one; U = 0 where
      the basis has none.
    seconds: processor time that it took.
  """

  orbitals: np.ndarray
  n_electrons: float
  energy: float
  dipole: np.ndarray
  gap: float
  orbital_energies: np.ndarray
  n_filled: int
  homo: np.ndarray
  lumo: np.ndarray
  seconds: float


def run(numbers, coords, total_charge=0, unpaired=0) -> XtbResult:
  """Runs GFN2-xTB on one molecule.

  Args:
    numbers: [A] atomic numbers, 1 to 86, or symbols.
    coords: [A, 3], Å.
    total_charge: in units of the elementary charge, a whole number.
    unpaired: number of unpaired electrons.

  Returns:
    The result. Nothing of tblite outlives the call.

  Raises:
    ValueError: shapes, elements or distances are impossible, or the number
      of valence electrons does not fit total_charge, unpaired and the basis.
    XtbError: the self-consistent field did not converge, or overlap or
      number of electrons disagree with edjax's basis.
  """
  numbers_A, coords_A3 = _checked(numbers, coords)
  total_charge = arguments.whole('total_charge', total_charge)
  unpaired = arguments.whole('unpaired', unpaired)
  name = result_cache.key(
    program(), numbers_A, coords_A3, total_charge, unpaired
  )
  stored = result_cache.get(name)
  if stored is None:
    result = _run(numbers_A, coords_A3, total_charge, unpaired)
    result_cache.put(name, result._asdict())
    return result
  return XtbResult(**stored)


@functools.cache
def program() -> str:
  """Names everything beside the molecule that a result depends on."""
  code = b''.join(
    pathlib.Path(file).read_bytes() for file in (__file__, gfn2_basis.__file__)
  )
  return f'{METHOD} {version()} {hashlib.sha256(code).hexdigest()}'


def _run(numbers_A, coords_A3, total_charge, unpaired) -> XtbResult:
  started = time.process_time()
  n_valence = _check_electrons(numbers_A, total_charge, unpaired)
  raw = _singlepoint(numbers_A, coords_A3, total_charge, unpaired)
  name = f'{_formula(numbers_A)} ({METHOD}, tblite {version()})'
  overlap_KK = gfn2_basis.overlap(numbers_A, coords_A3)
  if raw['overlap'].shape != overlap_KK.shape:
    raise XtbError(
      f'{name}: tblite has {len(raw["overlap"])} basis functions, the table '
      f'has {len(overlap_KK)}'
    )
  difference = np.abs(raw['overlap'] - overlap_KK).max()
  if not difference < _OVERLAP_TOLERANCE:
    raise XtbError(
      f'{name}: overlaps differ from those of the basis table by up to '
      f'{difference:.1e}; the order of orbitals or the basis has changed, '
      'install the tblite version that edjax pins'
    )
  occupation_O = raw['occupations']
  held_O = occupation_O > MIN_OCCUPATION
  scaled_KO = raw['coefficients'][:, held_O] * np.sqrt(occupation_O[held_O])
  n_electrons = float(np.sum(scaled_KO * (overlap_KK @ scaled_KO)))
  if not abs(n_electrons - n_valence) < _ELECTRON_TOLERANCE:
    raise XtbError(
      f'{name}: the orbitals hold {n_electrons:.8f} electrons, expected '
      f'{n_valence}'
    )
  energies_K = raw['orbital_energies'] * units.HARTREE_EV
  n_filled = (n_valence + unpaired) // 2
  homo, lumo = (
    gfn2_basis.to_slots(
      numbers_A, _level(raw['coefficients'], energies_K, place)
    ).astype(np.float32)
    for place in (n_filled - 1, n_filled)
  )
  return XtbResult(
    orbitals=gfn2_basis.to_slots(numbers_A, scaled_KO).astype(np.float32),
    n_electrons=n_electrons,
    energy=float(raw['energy']),
    dipole=raw['dipole'] * units.AU_DIPOLE_D,
    gap=_gap(energies_K, n_filled),
    orbital_energies=energies_K,
    n_filled=n_filled,
    homo=homo,
    lumo=lumo,
    seconds=time.process_time() - started,
  )


def run_many(
  molecules: Sequence,
  workers: int | None = None,
  chunk: int = 64,
  progress: str = '',
) -> Iterator[XtbResult | workers_lib.Failure]:
  """Runs GFN2-xTB on many molecules, in order, one thread a process.

  Args:
    molecules: tuples of the arguments of `run`: (numbers, coords) or
      (numbers, coords, total_charge, unpaired).
    workers: processes (default: one per core).
    chunk: molecules sent to a process at once.
    progress: label of a progress bar on stderr; '' for none.

  Yields:
    An `XtbResult`, or a `workers.Failure` with index and reason. Neither a
    molecule that fails nor a process that dies stops the others.
  """
  return workers_lib.map_ordered(
    'data_builders.xtb:run', molecules, workers, chunk, progress
  )


def _checked(numbers, coords) -> tuple[np.ndarray, np.ndarray]:
  numbers_A = elements.check_numbers(numbers)
  gfn2_basis.shells(int(numbers_A.max()))  # raises beyond Rn
  coords_A3 = elements.check_rows('coords', coords, (len(numbers_A), 3))
  apart_AA = np.linalg.norm(coords_A3[:, None] - coords_A3, axis=-1)
  apart_AA[np.diag_indices(len(numbers_A))] = np.inf
  if apart_AA.min() < _MIN_DISTANCE_A:
    i, j = np.unravel_index(apart_AA.argmin(), apart_AA.shape)
    raise ValueError(
      f'atoms {i} and {j} are {apart_AA.min():.3f} Å apart; coords are in Å'
    )
  return numbers_A, coords_A3


def _check_electrons(numbers_A, total_charge, unpaired) -> int:
  """Counts valence electrons, and refuses numbers that tblite would take."""
  if unpaired < 0:
    raise ValueError(f'unpaired={unpaired} is negative')
  name = f'{_formula(numbers_A)} with total_charge={total_charge}'
  neutral = round(gfn2_occupations.valence_electrons(numbers_A).sum())
  n_valence = neutral - total_charge
  if n_valence < 1:
    raise ValueError(
      f'{name} has no valence electron left ({METHOD} counts {neutral} in the '
      'neutral molecule)'
    )
  n_electrons = int(numbers_A.sum()) - total_charge
  if (n_electrons - unpaired) % 2:
    parity = 'odd' if n_electrons % 2 else 'even'
    raise ValueError(
      f'{name} has an {parity} number of electrons ({n_electrons}), which does '
      f'not fit unpaired={unpaired}: set total_charge or unpaired'
    )
  if unpaired > n_valence:
    raise ValueError(
      f'{name}: unpaired={unpaired} is more than the valence electrons '
      f'({n_valence})'
    )
  # Electrons of one spin have an orbital each.
  n_functions = sum(
    2 * shell.l + 1 for z in numbers_A for shell in gfn2_basis.shells(int(z))
  )
  if (n_valence + unpaired) // 2 > n_functions:
    raise ValueError(
      f'{name}: valence electrons ({n_valence}) with unpaired={unpaired} do '
      f'not fit into the orbitals of {METHOD} ({n_functions})'
    )
  return n_valence


def _singlepoint(numbers_A, coords_A3, total_charge, unpaired) -> dict:
  """tblite's arrays, copied, so that its objects die here."""
  from tblite import exceptions, interface

  try:
    calculator = interface.Calculator(
      METHOD,
      numbers_A,
      coords_A3 / units.BOHR_A,
      float(total_charge),
      int(unpaired),
    )
    calculator.set('verbosity', 0)
    calculator.set('save-integrals', 1)  # keeps the overlap
    result = calculator.singlepoint()
    return {
      'energy': result.get('energy'),
      'dipole': np.array(result.get('dipole')),
      'coefficients': np.array(result.get('orbital-coefficients')),
      'occupations': np.array(result.get('orbital-occupations')),
      'orbital_energies': np.array(result.get('orbital-energies')),
      'overlap': np.array(result.get('overlap-matrix')),
    }
  except (exceptions.TBLiteRuntimeError, exceptions.TBLiteValueError) as error:
    raise XtbError(f'{_formula(numbers_A)}: {error}') from error


def _gap(energies_K, n_filled: int) -> float:
  """Returns the gap in eV above the highest orbital that holds an electron."""
  if n_filled >= len(energies_K):
    return float('nan')
  return float(energies_K[n_filled] - energies_K[n_filled - 1])


def _level(coefficients_KO, energies_O, place: int) -> np.ndarray:
  """Returns the orbitals of one energy, which share an electron: [K, n].

  Args:
    coefficients_KO: normalised orbitals.
    energies_O: eV.
    place: of one of them; beyond the last there is none.
  """
  if place >= len(energies_O):
    return coefficients_KO[:, :0]
  same_O = np.abs(energies_O - energies_O[place]) <= DEGENERATE
  return coefficients_KO[:, same_O] / np.sqrt(same_O.sum())


def _formula(numbers_A) -> str:
  counts = np.bincount(numbers_A)
  return ''.join(
    elements.SYMBOLS[z] + (str(counts[z]) if counts[z] > 1 else '')
    for z in np.flatnonzero(counts)
  )


@functools.cache  # a look-up reads files: it would be 5 % of a molecule
def version() -> str:
  """Returns the tblite that is installed."""
  return importlib.metadata.version('tblite')
