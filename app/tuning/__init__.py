"""`citestream tune`: what suits this machine, measured on it, as a profile."""
