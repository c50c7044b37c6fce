"""The fits of a search, which go on together."""
