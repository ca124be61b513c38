"""Input that wants to do harm: smuggled requests, slow clients, floods, protocol chaos."""
