"""Files that are whole or not there, strict JSON, and arrays without pickle."""
