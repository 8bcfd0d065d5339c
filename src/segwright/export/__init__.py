"""From a checkpoint to files that run elsewhere, each proven equal to what was trained."""
