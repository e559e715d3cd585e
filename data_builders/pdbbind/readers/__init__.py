"""Readers of files of PDBbind and the wwPDB."""
