"""Builders of the datasets that edjax trains on."""
