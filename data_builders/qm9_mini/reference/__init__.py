"""Calculations that made the molecules and labels of qm9_mini; PySCF."""
