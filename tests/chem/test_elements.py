import gemmi
import numpy as np
import pytest
from rdkit import Chem

from edjax.chem import elements


def test_table_is_complete_and_in_order():
  rows = elements.read_table('elements')['elements']
  assert [row[0] for row in rows] == list(range(1, 99))
  assert len(set(elements.SYMBOLS)) == 99
  assert elements.MASSES.shape == elements.VDW_RADII.shape == (99,)
  assert elements.MASSES[0] == elements.VDW_RADII[0] == 0  # padding


@pytest.mark.parametrize('z', range(1, 99))
def test_symbols_and_masses_against_gemmi_and_rdkit(z):
  other = gemmi.Element(z)
  table = Chem.GetPeriodicTable()
  assert elements.SYMBOLS[z] == other.name == table.GetElementSymbol(z)
  # Standard weights agree within 1e-3; where an element has none, programs
  # choose different isotopes (Po to Cf, Tc, Pm).
  stable = z not in (43, 61) and (z < 84 or z in (90, 91, 92))
  tolerance = 1e-3 if stable else 0.02
  assert elements.MASSES[z] == pytest.approx(other.weight, rel=tolerance)
  assert elements.MASSES[z] == pytest.approx(
    table.GetAtomicWeight(z), rel=tolerance
  )


def test_radii_of_common_elements():
  # Bondi 1964, and 1.10 for H (Rowland and Taylor 1996).
  known = {'H': 1.10, 'C': 1.70, 'N': 1.55, 'O': 1.52, 'F': 1.47, 'P': 1.80,
           'S': 1.80, 'Cl': 1.75, 'Br': 1.83, 'I': 1.98}  # fmt: skip
  for symbol, radius in known.items():
    z = elements.atomic_number(symbol)
    assert elements.VDW_RADII[z] == pytest.approx(radius, abs=0.025), symbol
  radii = elements.VDW_RADII[1:]
  assert ((radii >= 1.0) & (radii < 4.0)).all()


@pytest.mark.parametrize('symbol', ['Cl', 'CL', 'cl', ' Cl '])
def test_atomic_number_reads_any_case(symbol):
  assert elements.atomic_number(symbol) == 17


@pytest.mark.parametrize('symbol', ['X', 'Xx', '', 'Es', None])
def test_unknown_symbol_raises(symbol):
  with pytest.raises(ValueError, match='unknown element symbol'):
    elements.atomic_number(symbol)


def test_check_numbers():
  np.testing.assert_array_equal(elements.check_numbers([6.0, 1]), [6, 1])
  assert elements.check_numbers([98]).dtype == np.int32


@pytest.mark.parametrize('bad', [[], [[6]], 6])
def test_check_numbers_wants_a_row(bad):
  with pytest.raises(ValueError, match='must be'):
    elements.check_numbers(bad)


@pytest.mark.parametrize('bad', [[6, 0], [6, -1], [6, 99], [6, 6.5]])
def test_check_numbers_names_the_atom(bad):
  with pytest.raises(ValueError, match='atom 1'):
    elements.check_numbers(bad)


def test_metals_are_gemmis():
  want = [z for z in range(1, 99) if gemmi.Element(z).is_metal]
  assert elements.METALS.tolist() == want
