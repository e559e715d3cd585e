"""Datasets of molecules: records, xTB, geometries, TFDS builder."""
