"""Tasks: users, their tasks, and a stream of what happens to them."""
