"""How a fit survives being killed: its state in a directory."""
