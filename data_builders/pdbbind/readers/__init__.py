"""Readers of what PDBbind and the wwPDB publish."""
