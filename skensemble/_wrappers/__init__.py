"""What the estimators of `wrappers.py` do differently from scikeras': one question and one mixin per file."""
