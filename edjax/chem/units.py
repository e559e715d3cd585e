"""Units: everything inside edjax is Å, electrons, and Hartree or eV by name.

CODATA 2022 (https://physics.nist.gov/cuu/Constants/), the recommended values
of E. Tiesinga et al.; scipy.constants carries the same set and the tests
compare with it.
"""

# https://physics.nist.gov/cgi-bin/cuu/Value?bohrrada0
BOHR_A = 0.529177210544
# https://physics.nist.gov/cgi-bin/cuu/Value?hrev
HARTREE_EV = 27.211386245981
HARTREE_MEV = 1e3 * HARTREE_EV
# One atomic unit of dipole moment (e bohr) in debye: 8.4783536198e-30 C m
# (https://physics.nist.gov/cgi-bin/cuu/Value?auedm) over the debye,
# 1e-21 / 299792458 C m (1e-18 statC cm, exact by definition).
AU_DIPOLE_D = 8.4783536198e-30 * 299792458 * 1e21
# e/(4 pi eps0 Å): the potential of an elementary charge at 1 Å, in volt.
COULOMB_V = HARTREE_EV * BOHR_A
