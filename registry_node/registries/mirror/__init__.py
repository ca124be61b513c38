"""A pull-through cache over the node's own storage."""
