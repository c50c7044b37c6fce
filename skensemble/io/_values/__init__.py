"""Parameters, labels, histories and whatever else estimators hold besides networks, as typed JSON."""
