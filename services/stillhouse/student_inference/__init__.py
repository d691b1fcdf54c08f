"""Serves a GGUF student over gRPC with llama.cpp inside the process: slots, admission, constraints, cancellation."""
