import gemmi
import numpy as np
import pytest

from edjax.chem import elements, form_factors

ALL = range(1, elements.MAX_NUMBER + 1)


@pytest.mark.parametrize('z', ALL)
def test_table_equals_gemmis(z):
  row = elements.read_table('it92')['elements'][z - 1]
  assert row[:2] == [z, elements.SYMBOLS[z]]
  coefficients = gemmi.Element(z).it92
  # gemmi holds single precision: 2^-24 relative.
  np.testing.assert_allclose(
    form_factors.A_EP[z], [*coefficients.a, coefficients.c], rtol=6e-8
  )
  np.testing.assert_allclose(
    form_factors.B_EP[z], [*coefficients.b, 0], rtol=6e-8
  )


def test_sum_is_the_atomic_number():
  numbers = np.arange(elements.MAX_NUMBER + 1)
  held = form_factors.A_EP.sum(axis=1)
  np.testing.assert_allclose(held[1:], numbers[1:], rtol=2e-3)
  assert held[0] == 0
  assert (form_factors.B_EP >= 0).all()


def test_header_says_where_it_is_from():
  table = elements.read_table('it92')
  for word in ('source', 'edition', 'validity', 'check'):
    assert table[word]
  assert '6.1.1.4' in table['source']


@pytest.mark.parametrize('b_iso', [0, -1.0, np.nan, np.inf])
def test_unusable_b_iso_raises(b_iso):
  with pytest.raises(ValueError, match='b_iso must be'):
    form_factors.check_b_iso(b_iso)


@pytest.mark.parametrize('spacing', [0.25, 0.5])
def test_tied_blur_equals_gemmis(spacing):
  calculator = gemmi.DensityCalculatorX()
  calculator.d_min = 2 * spacing * 1.5
  calculator.rate = 1.5  # spacing = d_min / (2 rate)
  model, chain = gemmi.Model(1), gemmi.Chain('A')
  residue, atom = gemmi.Residue(), gemmi.Atom()
  atom.element, atom.b_iso = gemmi.Element('C'), 0.0
  residue.add_atom(atom)
  chain.add_residue(residue)
  model.add_chain(chain)
  calculator.set_refmac_compatible_blur(model, False)
  b_iso = form_factors.tied_b_iso(spacing)
  assert b_iso == pytest.approx(calculator.blur, rel=1e-9)
  assert form_factors.sigma(b_iso) == pytest.approx(spacing / np.sqrt(1.1))
