"""How members are trained and predict together."""
