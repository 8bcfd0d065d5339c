"""Recipe and pictures in, checkpoint out."""
