"""A simulation of the service under load, from what was measured of its parts. Pure."""
