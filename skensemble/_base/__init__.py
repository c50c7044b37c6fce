"""What ensembles share: all of them, those of independent runs, those with named members, those of one run."""
