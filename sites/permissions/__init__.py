"""Who may do what at which node, and why: read from the topology alone."""
