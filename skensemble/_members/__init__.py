"""What is trained: members as the user gave them, with seeds, rows, encodings and checks."""
