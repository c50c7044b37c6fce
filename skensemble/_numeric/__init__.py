"""How numbers are combined, chosen and scheduled: pure NumPy, no networks."""
