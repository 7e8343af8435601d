"""The commands: what is typed, what is printed, and the commands that need no other room."""
