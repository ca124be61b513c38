"""What each host must have, from the topology."""
