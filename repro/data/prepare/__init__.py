"""From images anywhere to a prepared set. Part of the bench half."""
