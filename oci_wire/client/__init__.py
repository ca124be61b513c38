"""A registry somewhere else, spoken to over HTTP: ``RemoteRegistry`` satisfies the port and the extension."""

from oci_wire.client.attempts import Retry, once_only
from oci_wire.client.credentials import Credentials
from oci_wire.client.remote import RemoteRegistry

__all__ = ["Credentials", "RemoteRegistry", "Retry", "once_only"]
