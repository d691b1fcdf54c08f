"""Models that are asked for answers: providers, and the one place where calls are paced, retried, paid and kept."""
