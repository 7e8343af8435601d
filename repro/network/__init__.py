"""The network of 2012, its normalization, and its halves on two devices. Part of the bench half."""
