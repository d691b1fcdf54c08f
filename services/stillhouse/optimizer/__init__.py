"""Optimises a role's prompt against a model, and keeps the program that came out."""
