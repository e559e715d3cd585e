"""Datasets of molecules: records, xTB, geometries, the TFDS builder."""
