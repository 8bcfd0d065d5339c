"""Pictures and masks: find them, check them, mend them, draw them, feed them to training."""
