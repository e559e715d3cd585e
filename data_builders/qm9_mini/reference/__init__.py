"""How the molecules and labels of qm9_mini were made; needs PySCF."""
