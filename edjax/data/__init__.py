"""From a dataset to batches: packs, splits, labels, padded molecules."""
