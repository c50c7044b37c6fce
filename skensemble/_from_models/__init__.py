"""Networks that were trained elsewhere, Keras models and files, as fitted members."""
