"""From an image to a prediction: load any model of ours, run it, write what it found."""
