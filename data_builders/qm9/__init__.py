"""QM9 with GFN2-xTB orbitals."""
