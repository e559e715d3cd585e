"""The embedded molecules: geometries and labels that this project computed."""
