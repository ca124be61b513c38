"""What each node is told: the settings that the topology asks of it."""
