"""How good a model is: scores with intervals, reports."""
