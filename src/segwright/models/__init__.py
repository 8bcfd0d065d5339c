"""Networks: one catalogue from names to modules that take images 0..1 and answer with logits of the same size."""
