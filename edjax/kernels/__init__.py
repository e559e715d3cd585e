"""How sums over atoms and orbitals are computed on grids."""
