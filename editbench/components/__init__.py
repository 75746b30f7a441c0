"""What a configuration names: checkpoints and classes, found, checked and constructed."""
