"""The electron density of GFN2-xTB's occupied orbitals."""

from edjax.gto_basis import from_slots, overlap, shells, to_slots

__all__ = ['from_slots', 'overlap', 'shells', 'to_slots']
