"""One run from start to record. Part of the bench half."""
