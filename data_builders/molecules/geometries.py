"""Other geometries of molecules whose labels stay: relaxed, or with noise.

A dataset has the variants '' (as published), 'gfn2' (relaxed with GFN2-xTB)
and 'noise_S' (Gaussian noise of S Å in each coordinate).
"""

import hashlib
import time

import numpy as np
import scipy.optimize

from data_builders import xtb
from data_builders.molecules.types import Record
from data_builders.support import result_cache
from edjax.chem import units

RELAXED = 'gfn2'
_NOISE = 'noise_'
# Ha/bohr, of the largest component.
TOLERANCE = 5e-4
_MAX_STEPS = 500
# A pair of atoms that is a bond in one geometry and none in the other counts as
# changed if its distance changed by more than this share. In 400 molecules of
# QM9 no distance up to 1.35 times the sum of the covalent radii changed by more
# than 0.07; pairs across small rings lie near the limit of a bond, 1.2.
_BOND_CHANGE = 0.1


def noise_of(variant: str) -> float:
  """Returns the standard deviation in Å of a variant; 0 without noise.

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
  """Adds independent normal noise to every coordinate of a molecule.

  The noise follows from the id alone and scales with its standard deviation:
  an atom is displaced in the same direction whatever the size.

  Args:
    record: as published.
    noise: standard deviation, Å.
  """
  digest = hashlib.sha256(f'noise:{record.example_id}'.encode()).digest()
  key = np.frombuffer(digest[:16], '<u8')
  normal_A3 = np.random.Generator(np.random.Philox(key=key)).standard_normal(
    record.coords.shape
  )
  return record._replace(coords=record.coords + noise * normal_A3)


def calculate(record: Record, variant: str) -> tuple[Record, xtb.XtbResult]:
  """Moves a molecule to the geometry of a variant and runs xTB there.

  Args:
    record: as published.
    variant: '' leaves it where it is.

  Returns:
    The moved record, and the result; its seconds include a relaxation.

  Raises:
    ValueError: there is no such variant; or see `xtb.run`.
    XtbError: see `xtb.run` and `relax`.
  """
  seconds = 0.0
  if variant == RELAXED:
    inputs = record.numbers, record.coords, record.charge, record.unpaired
    name = result_cache.key(f'relaxed {xtb.program()}', *inputs)
    relaxed = result_cache.get(name)
    if relaxed is None:
      started = time.process_time()
      relaxed = {'coords': relax(*inputs)}
      relaxed['seconds'] = time.process_time() - started
      result_cache.put(name, relaxed)
    record = record._replace(coords=relaxed['coords'])
    seconds = relaxed['seconds']
  elif variant:
    record = noisy(record, noise_of(variant))
  result = xtb.run(
    record.numbers, record.coords, record.charge, record.unpaired
  )
  return record, result._replace(seconds=seconds + result.seconds)


def relax(numbers, coords, charge: int = 0, unpaired: int = 0) -> np.ndarray:
  """Relaxes a molecule with GFN2-xTB and checks that its bonds stay.

  Args:
    numbers: [A] atomic numbers.
    coords: [A, 3], Å.
    charge: total charge.
    unpaired: number of unpaired electrons.

  Returns:
    [A, 3], Å.

  Raises:
    XtbError: see `minimum`; or other atoms are bonded than before, so that the
      labels would be those of another molecule.
  """
  start_A3 = np.asarray(coords, np.float64) / units.BOHR_A
  relaxed_A3, _ = minimum(numbers, start_A3, charge=charge, unpaired=unpaired)
  changed = _changed_bonds(numbers, start_A3, relaxed_A3)
  if changed:
    raise xtb.XtbError(f'relaxation made or broke the bonds {changed}')
  return relaxed_A3 * units.BOHR_A


def minimum(
  numbers,
  start_A3,
  tolerance: float = TOLERANCE,
  restart: bool = True,
  charge: int = 0,
  unpaired: int = 0,
) -> tuple[np.ndarray, float]:
  """Finds the nearest minimum of GFN2-xTB: SciPy's BFGS on tblite's gradients.

  Args:
    numbers: [A] atomic numbers.
    start_A3: bohr.
    tolerance: largest |component| of the gradient that may be left, Ha/bohr.
    restart: whether each self-consistent field starts from that of the step
      before, which takes two thirds of the time, or anew.
    charge: total charge.
    unpaired: number of unpaired electrons.

  Returns:
    Coordinates in bohr, [A, 3], and the largest component there.

  Raises:
    XtbError: a field did not converge, or the tolerance was not reached in 500
      steps.
  """
  from tblite import exceptions, interface

  calculator = interface.Calculator(
    xtb.METHOD, np.asarray(numbers), start_A3, float(charge), unpaired
  )
  calculator.set('verbosity', 0)
  last = None

  def energy_and_gradient(flat):
    nonlocal last
    calculator.update(positions=flat.reshape(-1, 3))
    last = calculator.singlepoint(last if restart else None)
    return last.get('energy'), last.get('gradient').ravel()

  try:
    result = scipy.optimize.minimize(
      energy_and_gradient,
      np.ravel(start_A3),
      jac=True,
      method='BFGS',
      options={'gtol': tolerance, 'maxiter': _MAX_STEPS},
    )
  except (exceptions.TBLiteRuntimeError, exceptions.TBLiteValueError) as error:
    raise xtb.XtbError(f'relaxation: {error}') from error
  largest = float(np.abs(result.jac).max())
  if not largest <= tolerance:
    raise xtb.XtbError(f'relaxation stopped at {largest:.1e} Ha/bohr')
  return result.x.reshape(-1, 3), largest


def bonds_from_distances(numbers, coords_A3):
  """Returns pairs closer than 1.2 times the sum of covalent radii, {(i, j)}.

  In some 760 molecules of this kind the longest bond is at 1.16 (N-O of
  the 3-ring C1=NO1) and the closest pair that is none, across the
  4-ring of C=C1OCO1, at 1.25. Radii: Cordero et al., Dalton Trans. 2008,
  2832, as RDKit tabulates them.

  Args:
    numbers: atomic numbers, [A].
    coords_A3: bohr, [A, 3].
  """
  from rdkit import Chem

  table = Chem.GetPeriodicTable()
  radii = np.array([table.GetRcovalent(int(z)) for z in numbers]) / units.BOHR_A
  distance = np.linalg.norm(coords_A3[:, None] - coords_A3[None], axis=-1)
  close = distance < 1.2 * (radii[:, None] + radii[None])
  return {(int(i), int(j)) for i, j in np.argwhere(close) if i < j}


def _changed_bonds(numbers, before_A3, after_A3) -> list[tuple[int, int]]:
  """Returns the pairs of atoms that became bonded or ceased to be."""
  bonds, now = (
    bonds_from_distances(numbers, x_A3) for x_A3 in (before_A3, after_A3)
  )

  def stretch(i, j):
    lengths = (np.linalg.norm(x[i] - x[j]) for x in (after_A3, before_A3))
    return abs(np.log(np.divide(*lengths)))

  return sorted(pair for pair in bonds ^ now if stretch(*pair) > _BOND_CHANGE)
