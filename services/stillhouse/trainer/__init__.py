"""The trainer: prepares base models and fine-tunes students with LoRA."""
