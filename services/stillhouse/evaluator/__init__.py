"""Measures a model on held-out rows and decides its gates."""
