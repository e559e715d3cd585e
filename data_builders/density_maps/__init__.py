"""Experimental density maps and structure factors: read, checked, resampled."""
