"""What other programs use to talk to a served student."""
