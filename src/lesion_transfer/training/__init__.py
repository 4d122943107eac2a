"""Training: augmentation, batches and the loop."""
