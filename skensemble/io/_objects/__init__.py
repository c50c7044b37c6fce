"""What a manifest lists: networks, members and estimators, one file for each, with both directions side by side."""
