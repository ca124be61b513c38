"""Where things run: sites, hosts, certificates."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from topology.declared import Declared, Owned, SecretRef
from topology.firewalls import Firewall
from topology.values import Duration, FilePath, Name, Port, Size

_SSH = r"^([A-Za-z_][A-Za-z0-9_-]*@)?([A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?$"
_HOST_KEY = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,2}$"
_PART = "[a-z0-9]+([._-][a-z0-9]+)*"  # of a repository's name (distribution-spec 1.1)
_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"

DomainName = Annotated[str, Field(max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]


ProxyPath = Annotated[str, Field(max_length=100, pattern=rf"^{_PART}(/{_PART})*$")]


class HostProxy(Declared):
    """The nginx in front of a host's nodes. ``method``: how clients tell them apart there. ``subdomain``: by
    NODE.``domain``, all of them at ``port``; ``port``: each at one of its own, that of its ``proxy``; ``path``: by what
    their images' names begin with, ``domain``/NODE/NAME, all of them at ``port``."""

    method: Literal["path", "port", "subdomain"]
    domain: DomainName | None = None
    port: Port = 443


class NodeProxy(Declared):
    """What clients call one node, where that is not what its host's ``proxy`` makes of it."""

    name: DomainName | None = None
    port: Port | None = None
    path: ProxyPath | None = None


class NoProxy(NodeProxy):
    """Written ``none``: clients go past the proxy, to the node itself."""


def _own_proxy(value: Any) -> Any:
    return NoProxy() if value == "none" else value


OwnProxy = Annotated[NodeProxy, BeforeValidator(_own_proxy, json_schema_input_type=Literal["none"] | NodeProxy)]


class Host(Owned):
    """A machine. Without ``ssh`` and ``address`` it is this one (``towpath up`` gives it a loopback address).
    ``hostKey``: the public key by which it must show itself, as ``ssh-keyscan`` prints it after the name.
    ``proxy``: nginx stands in front of its nodes."""

    ssh: str | None = Field(default=None, pattern=_SSH)
    host_key: str | None = Field(default=None, pattern=_HOST_KEY)
    address: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$")
    failure_domain: str | None = None
    disk: Size | None = None
    firewall: Firewall | None = None
    proxy: HostProxy | None = None

    @property
    def reached_at(self) -> str | None:
        """The address that other hosts use; None: this machine."""
        return self.address or self._ssh_host

    @property
    def numbers(self) -> tuple[str, ...]:
        """Those of its addresses that are written as numbers: what a packet filter can know it by."""
        return tuple(dict.fromkeys(each for each in (self.address, self._ssh_host) if each and _is_number(each)))

    @property
    def _ssh_host(self) -> str | None:
        if not self.ssh:
            return None
        host = self.ssh.rpartition("@")[2]
        return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]

    @property
    def loopback(self) -> bool:
        address = self.reached_at
        if address is None or address == "localhost":
            return True
        return _is_number(address) and ipaddress.ip_address(address).is_loopback


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


class Site(Owned):
    """``firewall``: of all its hosts that have none of their own."""

    hosts: dict[Name, Host] = Field(min_length=1)
    firewall: Firewall | None = None


class Authority(Declared):
    cert: FilePath
    key: SecretRef


class Tls(Declared):
    """Certificates for the nodes, issued by this authority."""

    ca: Authority
    renew_before: Duration | None = None


class Certificate(Declared):
    """One node's own certificate."""

    cert: FilePath
    key: SecretRef
