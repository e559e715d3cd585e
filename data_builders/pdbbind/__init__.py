"""PDBbind: protein-ligand complexes with measured affinities."""
