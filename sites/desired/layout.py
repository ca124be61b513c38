"""Where things lie on a host. Drawn once:

/opt/towpath/releases/RELEASE/         one release, unpacked; root's, and nobody writes there
/opt/towpath/nodes/NODE                -> ../releases/RELEASE: what this node runs. One link a node, so that nodes roll
                                       one by one
/etc/towpath/inventory.json            what apply laid down here, 0600: drift is measured against it, and only what it
                                       lists is ever removed
/etc/towpath/NODE/settings.json        0640 root:towpath; hashes of secrets, no secrets
/etc/towpath/NODE/tls.crt, CA.crt      certificates, 0644
/etc/towpath/NODE/credentials/NAME     0600 root: systemd hands copies to the unit (LoadCredential)
/etc/towpath/NODE/pending              there until the node has passed its health gate on the files here
/etc/towpath/firewall.nft              the packet filter of the nodes' ports, where the topology declares one
/etc/towpath/.proxy/NODE.crt, NODE.key what nginx shows for a node behind it, in a folder of root's
/etc/towpath/.proxy/pending            there until a node was reached through nginx on the files here
/etc/nginx/conf.d/towpath.conf         nginx passes clients on to the nodes behind it
/etc/systemd/system/towpath-NODE.service
/etc/systemd/system/towpath-firewall.service, nftables.service.d/towpath.conf
/etc/systemd/journald@towpath.conf     limits of the nodes' journal
/run/credentials/UNIT/NAME             where the node finds its credentials
/var/lib/towpath/NODE                  data: the node's own, nothing else touches it
/var/lib/towpath/.former/NODE          what a change replaced, until the next one
/var/lib/towpath/.trash/NODE-TIME      data of a node that was removed, until its term is over; 0700
/var/lib/towpath/.trash/NODE-TIME.json what it was, and until when it is kept
/var/lib/towpath/.lock                 who is changing this host now
/var/lib/towpath/.fence                how often it was locked: the fencing token
"""

from __future__ import annotations

from pathlib import PurePosixPath

USER = GROUP = "towpath"
PROGRAMS = PurePosixPath("/opt/towpath")
SETTINGS = PurePosixPath("/etc/towpath")
DATA = PurePosixPath("/var/lib/towpath")
UNITS = PurePosixPath("/etc/systemd/system")

RELEASES = PROGRAMS / "releases"
NODES = PROGRAMS / "nodes"
INVENTORY = SETTINGS / "inventory.json"
FIREWALL = SETTINGS / "firewall.nft"
FIREWALL_UNIT = "towpath-firewall.service"
FIREWALL_AGAIN = UNITS / "nftables.service.d" / "towpath.conf"
FIREWALL_WANTED = tuple(
    UNITS / f"{each}.wants" / FIREWALL_UNIT for each in ("sysinit.target", "nftables.service")
)  # the links by which the unit is started
TABLE = "towpath"  # of nftables, family inet
JOURNAL_NAMESPACE = "towpath"
JOURNAL = PurePosixPath(f"/etc/systemd/journald@{JOURNAL_NAMESPACE}.conf")
JOURNAL_UNIT = f"systemd-journald@{JOURNAL_NAMESPACE}.service"
# What a host has beside its nodes: of an inventory that somebody edited nothing else is removed as such.
OF_PARTS = frozenset(map(str, (FIREWALL, UNITS / FIREWALL_UNIT, FIREWALL_AGAIN, JOURNAL)))
TRASH = DATA / ".trash"
FORMER = DATA / ".former"
PROXY = SETTINGS / ".proxy"
NGINX = PurePosixPath("/etc/nginx/conf.d/towpath.conf")
NGINX_UNIT = "nginx.service"
LOCK = DATA / ".lock"
FENCE = DATA / ".fence"


def release(identity: str) -> PurePosixPath:
    return RELEASES / identity


def release_of(node: str) -> PurePosixPath:
    """The link by which a node finds its release."""
    return NODES / node


def link_target(identity: str) -> str:
    return f"../releases/{identity}"


def settings(node: str) -> PurePosixPath:
    return SETTINGS / node / "settings.json"


def certificate(node: str) -> PurePosixPath:
    return SETTINGS / node / "tls.crt"


def authority(node: str, name: str) -> PurePosixPath:
    """The certificate of an authority that a node believes when it asks ``name``."""
    return SETTINGS / node / f"{name}.ca.crt"


def credentials(node: str) -> PurePosixPath:
    return SETTINGS / node / "credentials"


def pending(node: str) -> PurePosixPath:
    return SETTINGS / node / "pending"


def proxy_certificate(node: str) -> PurePosixPath:
    return PROXY / f"{node}.crt"


def proxy_key(node: str) -> PurePosixPath:
    return PROXY / f"{node}.key"


def unit(node: str) -> str:
    return f"towpath-{node}.service"


def unit_file(node: str) -> PurePosixPath:
    return UNITS / unit(node)


def credential(node: str, name: str) -> PurePosixPath:
    """Where the running node finds a credential: systemd's own copy, for this unit alone."""
    return PurePosixPath("/run/credentials") / unit(node) / name


def data(node: str) -> PurePosixPath:
    return DATA / node


def former(node: str) -> PurePosixPath:
    return FORMER / node
