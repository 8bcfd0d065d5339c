"""What the command line can do: one function for each command; nothing heavy is imported for help."""
