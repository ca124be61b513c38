"""The declared nodes for places that others run: Kubernetes, Compose, Prometheus. Text alone; nothing is changed."""
