import gemmi
import numpy as np
import pytest
import scipy.integrate

from edjax.chem import elements, form_factors

ALL = range(1, elements.MAX_NUMBER + 1)


@pytest.mark.parametrize('z', ALL)
def test_table_equals_gemmis(z):
  row = form_factors._table()['elements'][z - 1]
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
  held = form_factors.electrons(numbers)
  np.testing.assert_allclose(held[1:], numbers[1:], rtol=2e-3)
  assert held[0] == 0
  assert (form_factors.B_EP >= 0).all()


def test_header_says_where_it_is_from():
  table = form_factors._table()
  for word in ('source', 'edition', 'validity', 'check'):
    assert table[word]
  assert '6.1.1.4' in table['source']


@pytest.mark.parametrize('z', [1, 6, 17, 53])
def test_scattering_factor(z):
  s = np.linspace(0, 1.9, 20)
  it92 = gemmi.Element(z).it92
  want = [it92.calculate_sf(stol2=x * x) for x in s]
  np.testing.assert_allclose(
    form_factors.scattering_factor(z, s), want, rtol=1e-6
  )


@pytest.mark.parametrize('s', [-0.1, 2.0, [0.1, 3.0], np.nan])
def test_scattering_factor_outside_of_the_fit(s):
  with pytest.raises(ValueError, match='the fit holds'):
    form_factors.scattering_factor(6, s)


@pytest.mark.parametrize('z', [1, 7, 16, 35])
def test_density_is_the_transform_of_the_scattering_factor(z):
  # rho(r) = 8 int f(s) exp(-B s^2) sin(4 pi s r)/r s ds: Fourier's integral
  # done numerically, against the closed form.
  b_iso = 30.0
  s = np.linspace(0, 1.9, 8001)  # exp(-30 * 1.9^2) is 1e-47
  f = form_factors.scattering_factor(z, s) * np.exp(-b_iso * s**2)
  r = np.array([0.05, 0.4, 1.0, 2.0])
  want = [
    8 * scipy.integrate.simpson(f * np.sin(4 * np.pi * s * x) * s, x=s) / x
    for x in r
  ]
  got = form_factors.atom_density(z, r, b_iso)
  np.testing.assert_allclose(got, want, rtol=1e-8)
  # the negative control: another B is another density
  other = form_factors.atom_density(z, r, 1.01 * b_iso)
  assert not np.allclose(other, want, rtol=1e-3)


@pytest.mark.parametrize('b_iso', [0.5, 20.0])
def test_density_integrates_to_the_electrons(b_iso):
  r = np.linspace(0, 12, 40001)
  for z in (1, 8, 79):
    rho = form_factors.atom_density(z, r, b_iso)
    total = scipy.integrate.simpson(4 * np.pi * r**2 * rho, x=r)
    # the widest Gaussians (b = 168 Å^2 for Li) are not among these
    assert total == pytest.approx(form_factors.electrons(z), rel=1e-6)


@pytest.mark.parametrize('b_iso', [0, -1.0, np.nan, np.inf])
def test_unusable_b_iso_raises(b_iso):
  with pytest.raises(ValueError, match='b_iso must be'):
    form_factors.atom_density(6, 0.0, b_iso)


def test_density_diverges_as_blur_goes_to_zero():
  # why B has to be above 0: the constant term has no width of its own
  peaks = [form_factors.atom_density(6, 0.0, b) for b in (1e-2, 1e-4, 1e-6)]
  assert peaks[2] > 100 * peaks[1] > 1000 * peaks[0]


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


def test_unknown_element_raises():
  with pytest.raises(ValueError, match='atomic number'):
    form_factors.atom_density(99, 1.0, 10.0)
