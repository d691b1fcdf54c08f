"""The providers of teachers. Read by `opening`, and by the command line for its help: it imports nothing."""

from __future__ import annotations

EXTRAS = {
    "vertex": "teacher-generator",
    "vertex_sdk": "teacher-generator",
    "litellm": "teacher-generator",
    "gguf": "student-inference",
    "student": "teacher-generator",
    "emulator": "vertex-emulator",
}
"""What to install for each."""
PROVIDERS = tuple(EXTRAS)
