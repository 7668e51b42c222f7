"""What changes pictures on their way into a batch: one module an operation, and `Augmentation`, which does them all."""
