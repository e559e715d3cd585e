"""Facts of chemistry: units, elements, form factors, GFN2-xTB basis."""
