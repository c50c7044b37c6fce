"""What is private in other packages, or differs between their versions: a file for each package."""
