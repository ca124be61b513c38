"""One running registry: settings in, ASGI app out. Knows its own settings and nothing of the topology."""
