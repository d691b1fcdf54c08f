"""Optimised DSPy programs as data: program.json and metadata.json, without pickle."""
