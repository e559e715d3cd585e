"""Other geometries of molecules whose labels stay: relaxed, or with noise.

Variants of a dataset: '' as published, 'gfn2' relaxed with GFN2-xTB, and
'noise_S' with Gaussian noise of S Å in each coordinate.
"""

import hashlib
import time

import numpy as np
import scipy.optimize

from data_builders import xtb
from data_builders.molecules.types import Record
from data_builders.support import bonds as bond_finder
from data_builders.support import result_cache
from edjax.chem import units

RELAXED = 'gfn2'
_NOISE = 'noise_'
# Ha/bohr, of the largest component: as qm9_mini's geometries were made.
TOLERANCE = 5e-4
_MAX_STEPS = 500
# A pair of atoms that is a bond in one geometry and none in the other has gone
# from one to the other if its distance changed by more than this share. In 400
# molecules of QM9 no distance up to 1.35 times the sum of the covalent radii
# changed by more than 0.07; across small rings are pairs at the limit, 1.2.
_BOND_CHANGE = 0.1


def check(variant: str) -> str:
  """A variant's name, if there is such a variant.

  Raises:
    ValueError: there is none.
  """
  if variant not in ('', RELAXED):
    noise_of(variant)
  return variant


def noise_of(variant: str) -> float:
  """Standard deviation in Å of a variant; 0 for one without noise.

  Raises:
    ValueError: there is no such variant.
  """
  if variant in ('', RELAXED):
    return 0.0
  try:
    noise = float(variant.removeprefix(_NOISE))
  except ValueError:
    noise = 0.0
  if not (variant.startswith(_NOISE) and np.isfinite(noise) and noise > 0):
    raise ValueError(
      f'no geometry {variant!r}; there are {RELAXED!r} and {_NOISE + "0.1"!r} '
      'with any number of Å'
    )
  return noise


def noisy(record: Record, noise: float) -> Record:
  """A molecule with independent normal noise in every coordinate.

  The noise follows from the id alone, up to its size: of two sizes, each
  atom's displacements have one direction.

  Args:
    record: as published.
    noise: standard deviation, Å.
  """
  digest = hashlib.sha256(f'noise:{record.example_id}'.encode()).digest()
  key = np.frombuffer(digest[:16], '<u8')
  normal_A3 = np.random.Generator(np.random.Philox(key=key)).standard_normal(
    record.positions.shape
  )
  return record._replace(positions=record.positions + noise * normal_A3)


def calculate(record: Record, variant: str) -> tuple[Record, xtb.XtbResult]:
  """A molecule in another geometry, and its orbitals there.

  Args:
    record: as published.
    variant: not ''.

  Raises:
    ValueError: there is no such variant; or see `xtb.run`.
    XtbError: see `xtb.run` and `relax`.
  """
  if variant == RELAXED:
    relaxed_A3, result = relax_and_run(record.numbers, record.positions)
    return record._replace(positions=relaxed_A3), result
  record = noisy(record, noise_of(variant))
  return record, xtb.run(record.numbers, record.positions)


def relax_and_run(numbers, coords) -> tuple[np.ndarray, xtb.XtbResult]:
  """One molecule relaxed with GFN2-xTB, and its orbitals there.

  Args:
    numbers: [A] atomic numbers.
    coords: [A, 3], Å.

  Returns:
    The relaxed coordinates in Å, and the result for them; its seconds include
    the relaxation.

  Raises:
    ValueError: see `xtb.run`.
    XtbError: no convergence, or bonds were made or broken.
  """
  name = result_cache.key(f'relaxed {xtb.program()}', numbers, coords)
  relaxed = result_cache.get(name)
  if relaxed is None:
    started = time.process_time()
    relaxed_A3 = relax(numbers, coords)
    relaxed = {'coords': relaxed_A3, 'seconds': time.process_time() - started}
    result_cache.put(name, relaxed)
  result = xtb.run(numbers, relaxed['coords'])
  seconds = float(relaxed['seconds']) + result.seconds
  return relaxed['coords'], result._replace(seconds=seconds)


def relax(numbers, coords, tolerance: float = TOLERANCE) -> np.ndarray:
  """The nearest minimum of GFN2-xTB, by SciPy's BFGS on tblite's gradients.

  Args:
    numbers: [A] atomic numbers of a neutral closed-shell molecule.
    coords: [A, 3], Å.
    tolerance: largest component of the gradient that may be left, Ha/bohr.

  Returns:
    [A, 3], Å.

  Raises:
    XtbError: a field did not converge, the tolerance was not reached in 500
      steps, or the atoms that are bonded are others than before: its labels
      would be those of another molecule.
  """
  from tblite import exceptions, interface

  start_A3 = np.asarray(coords, np.float64) / units.BOHR_A
  calculator = interface.Calculator(xtb.METHOD, np.asarray(numbers), start_A3)
  calculator.set('verbosity', 0)
  last = None

  def energy_and_gradient(flat):
    nonlocal last
    calculator.update(positions=flat.reshape(-1, 3))
    # From the field of the step before, which takes two thirds of the time.
    last = calculator.singlepoint(last)
    return last.get('energy'), last.get('gradient').ravel()

  try:
    found = scipy.optimize.minimize(
      energy_and_gradient,
      start_A3.ravel(),
      jac=True,
      method='BFGS',
      options={'gtol': tolerance, 'maxiter': _MAX_STEPS},
    )
  except (exceptions.TBLiteRuntimeError, exceptions.TBLiteValueError) as error:
    raise xtb.XtbError(f'relaxation: {error}') from error
  largest = float(np.abs(found.jac).max())
  if not largest <= tolerance:
    raise xtb.XtbError(f'relaxation stopped at {largest:.1e} Ha/bohr')
  relaxed_A3 = found.x.reshape(-1, 3)
  changed = _changed_bonds(numbers, start_A3, relaxed_A3)
  if changed:
    raise xtb.XtbError(f'relaxation made or broke the bonds {changed}')
  return relaxed_A3 * units.BOHR_A


def _changed_bonds(numbers, before_A3, after_A3) -> list[tuple[int, int]]:
  bonds, now = (
    bond_finder.bonds_from_distances(numbers, x_A3)
    for x_A3 in (before_A3, after_A3)
  )

  def stretch(i, j):
    lengths = (np.linalg.norm(x[i] - x[j]) for x in (after_A3, before_A3))
    return abs(np.log(np.divide(*lengths)))

  return sorted(pair for pair in bonds ^ now if stretch(*pair) > _BOND_CHANGE)
