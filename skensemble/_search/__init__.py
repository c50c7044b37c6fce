"""The fits of a search, which are trained together."""
