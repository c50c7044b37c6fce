"""What the programs of all backends share: what can be fused, copies of models, steps, limits."""
