"""What the estimators of `wrappers.py` do in another way than those of scikeras: a question a file, a mixin each."""
