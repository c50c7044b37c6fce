"""Plots of fitted ensembles, as scikit-learn's Displays."""
