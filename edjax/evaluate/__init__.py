"""From trained parameters to predictions, errors and tables."""
