"""What may a file name and hold? Looked at before anything is built, without Keras."""
