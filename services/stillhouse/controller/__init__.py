"""Decides what is to be done for a Distillation, and does it: the pure plan and the backends that act on it."""
