"""What is private in other packages, or differs between their versions: a file or two for each package."""
