"""The client side of a mirror: which upstreams may be asked, in which order, and what their answers are worth."""

from registry_node.registries.upstreams.asked import Answer, UpstreamStatus
from registry_node.registries.upstreams.remote import client_of
from registry_node.registries.upstreams.upstreams import Upstreams

__all__ = ["Answer", "UpstreamStatus", "Upstreams", "client_of"]
