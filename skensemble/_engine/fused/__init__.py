"""How a group of members is trained by one program: its data, its state, the callbacks of its members."""
