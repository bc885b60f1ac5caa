"""What the simulated provider keeps: files, batches, stored responses."""
