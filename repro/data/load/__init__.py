"""From a prepared set to batches, the same with FFCV and with plain torch. Part of the bench half."""
