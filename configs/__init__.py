"""Configurations: plain functions that return a ConfigDict."""
