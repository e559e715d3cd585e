"""What can be learned from each dataset, in which unit."""

from typing import NamedTuple

from edjax.chem.units import HARTREE_MEV


class Target(NamedTuple):
  """Units of a target.

  Attributes:
    native: unit of the stored values.
    report: unit of errors in tables.
    factor: native * factor is in the unit of reports.
  """

  native: str
  report: str
  factor: float


_ENERGY = Target('Ha', 'meV', HARTREE_MEV)
_ATOMIZATION = Target('eV', 'meV', 1e3)
_DIPOLE = Target('D', 'D', 1.0)
_PK = Target('pK', 'pK', 1.0)
_EXTENT = Target('a0^2', 'a0^2', 1.0)

TARGETS = {
  'qm9': {
    'mu': _DIPOLE,
    'alpha': Target('a0^3', 'a0^3', 1.0),
    'homo': _ENERGY,
    'lumo': _ENERGY,
    'gap': _ENERGY,
    'r2': _EXTENT,
    'zpve': _ENERGY,
    'u0': _ENERGY,
    'u': _ENERGY,
    'h': _ENERGY,
    'g': _ENERGY,
    'cv': Target('cal/(mol K)', 'cal/(mol K)', 1.0),
    # Molecule minus atoms: negative.
    'u0_atom': _ATOMIZATION,
    'u_atom': _ATOMIZATION,
    'h_atom': _ATOMIZATION,
    'g_atom': _ATOMIZATION,
  },
  'qm9_mini': {
    'mu': _DIPOLE,
    'homo': _ENERGY,
    'lumo': _ENERGY,
    'gap': _ENERGY,
    'r2': _EXTENT,
    'energy': _ENERGY,
    # Electronic, molecule minus atoms: negative.
    'atomization': _ATOMIZATION,
  },
  # -log10 of Kd, Ki or IC50 in mol/l.
  'pdbbind': {'pk': _PK},
  'pdbbind_ligands': {'pk': _PK},
}
