"""Molecules of users' own files: readers, records, TFDS builder."""
