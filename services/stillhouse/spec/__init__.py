"""The Distillation: one file that says what is wanted, read by the laptop's runner and by the cluster's controller."""
