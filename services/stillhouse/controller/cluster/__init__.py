"""The controller on Kubernetes: the pure plan's actions as Jobs, its state as the Distillation's status."""
