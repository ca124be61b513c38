"""Every rule of the language, in one table. The codes never change; a rule without a check goes in where it stands."""

from __future__ import annotations

from topology.findings import Severity
from topology.rules import exposure, firewalls, flow, proxied, routing, structure, timing, writers
from topology.rules.subject import PLAN, Check, Rule


def _error(code: str, title: str, explanation: str, check: Check) -> Rule:
    return Rule(code, Severity.ERROR, title, explanation, check)


def _warning(code: str, title: str, explanation: str, check: Check) -> Rule:
    return Rule(code, Severity.WARNING, title, explanation, check)


def _at_plan(severity: Severity, code: str, title: str, explanation: str) -> Rule:
    return Rule(code, severity, title, explanation, None, stage=PLAN)


def _later(code: str, title: str) -> Rule:
    return Rule(code, Severity.WARNING, title, "", None, stage="")


RULES: tuple[Rule, ...] = (
    _error(
        "G1",
        "promotion cycle",
        "A promotion raises an image's standing. When edges form a cycle, standing means nothing: an image could go round\n"
        "and pick up tags and evidence as it goes. Remove one edge of the cycle.",
        flow.promotion_cycle,
    ),
    _later("G2", "a replication cycle without tombstones"),
    _later("G3", "a scope that nothing can reach or that leads nowhere"),
    _error(
        "G4",
        "dangling reference",
        "The name is declared, but what it names cannot play this part: a replication into a mirror or virtual, an owner\n"
        "or a push target that is no member of its virtual, a push target that takes no pushes, a neighbour of a mirror\n"
        "on another host, a grant at a site where the scope has no node, `attestWith` a trust entry without a private\n"
        "key, a backup of one scope that reads a node of another, an endpoint of a scope that gives other images than the\n"
        "scope's, or stands at another site.",
        structure.dangling,
    ),
    _error(
        "G5",
        "a way from dev to prod",
        "Images of a dev-class scope are built by hand, from anything. None may reach prod by any way: promotion,\n"
        "replication, a mirror's upstream, or a virtual that serves both. The finding names the shortest way and stands\n"
        "at its first edge. Build the image again in a ci-class scope instead.",
        flow.dev_reaches_prod,
    ),
    _later("G6", "an edge that skips a class"),
    _error(
        "G7",
        "a scope without exactly one primary",
        "Writes go to the primary of a scope and its replicas follow. Without a primary nothing can be written; with two,\n"
        "the same tag could mean two digests.",
        structure.one_primary,
    ),
    _error(
        "G8",
        "two edges that can write the same repository and tag",
        "When two edges may set the same tag, the one that ran last wins, and which image `stable` means depends on\n"
        "timing. Part their `repositories` or their `tags`. Patterns count as overlapping when some name fits both.",
        writers.two_writers,
    ),
    _error(
        "G9",
        "a cycle of virtuals or mirrors",
        "Each would ask the other for a name that neither has, without end. Take one of them out of the other's members\n"
        "or upstreams.",
        flow.front_cycle,
    ),
    _error(
        "G10",
        "an edge into a pull-only registry",
        "An external registry that belongs to no scope, or says `pullOnly: true`, is only ever read. An edge into it could\n"
        "never do its work.",
        flow.into_pull_only,
    ),
    _error(
        "G11",
        "a prod scope that is writable other than by an edge",
        "Prod is what went through gates. With `write: open` or `robots`, whoever has a push grant goes past them. Write\n"
        "`write: promotion-only` and name who may ask under `by` of an edge.",
        writers.writable_prod,
    ),
    _error(
        "G12",
        "prefixes whose owners contradict",
        "In `owns` of a virtual the first prefix that fits a name decides who answers. A prefix whose names an earlier one\n"
        "owns already never holds, and of two that overlap in part nobody can tell at a glance which one does. Write the\n"
        "narrower one first, part them, or give both the same owners.",
        routing.contradiction,
    ),
    _error(
        "P1",
        "a path that registries can not be told apart by",
        "With `method: path` nginx finds the node by what an image's name begins with: HOST/NODE/NAME, or HOST/PATH/NAME\n"
        "with `proxy: {path: PATH}` at the node. `v2` and `auth` are the protocol's own. All nodes of such a host have one\n"
        "name, one port and one certificate; the host's `proxy` says name and port.",
        proxied.by_path,
    ),
    _error(
        "P2",
        "one address for two behind a proxy",
        "nginx tells nodes apart by name and port, or by path. Of two with the same ones it would serve the first alone; a\n"
        "path within another one would hide images of the node with the shorter one; and a port on which a node of the\n"
        "host listens itself, or at which nodes have a port each, can not be nginx's for names as well.",
        proxied.address_twice,
    ),
    _error(
        "P3",
        "a proxy that says too little",
        "`method: subdomain` needs the `domain` below which nodes have their names, or each node a `proxy: {name: ...}`;\n"
        "`method: port` a `proxy: {port: ...}` at each node, other than the one where the node itself listens. A node's\n"
        "`proxy` means nothing on a host without one.",
        proxied.too_little,
    ),
    _later("R1", "prod without a replica in a second failure domain"),
    _later("R2", "prod without a backup, or with one beside its primary"),
    _later("R3", "an SLA that nodes, failure domains, schedules, lag or bandwidth cannot meet"),
    _later("R4", "a replica's quota below its source's"),
    _later("R5", "an RTO on a protected scope without a restore test or a replica to fail over to"),
    _later("R6", "quotas on a host above its disk"),
    _error(
        "R7",
        "a port used twice on a host",
        "Two nodes cannot listen on the same port of the same host: the second would not start.",
        structure.port_twice,
    ),
    _later("R8", "one host whose loss breaks the `minFailureDomains` of two scopes"),
    _at_plan(
        Severity.ERROR,
        "R9",
        "`atRest: encrypted` that host facts do not show",
        "Checked by `towpath plan` and `apply`, which refuse (exit 4): the SLA of a scope says that its images are\n"
        "encrypted at rest, and a host of one of its nodes, or of a mirror that copies it, does not show a dm-crypt\n"
        "device below /var/lib/towpath. Buckets are not looked at yet.",
    ),
    _warning(
        "S1",
        "a repository pattern served by more than one upstream without an owner",
        "Two registries outside may hold different images under one name. Who is asked first then decides what is run, and\n"
        "whoever registers a name at the first shadows that of the second. Say which names are whose: `repositories` and\n"
        "`deny` of an upstream ({node: NAME, repositories: [...]}), `owns` of a virtual. A replica of the other is no\n"
        "second source, nor are several owners of one prefix.",
        routing.shadowing,
    ),
    _warning(
        "S2",
        "a virtual without `unmatched: deny`",
        "A name that nobody owns is asked of every member, external ones included: whoever registers that name outside is\n"
        "served as if they were you (dependency confusion). Say who `owns` which prefix, and deny the rest.",
        exposure.open_virtual,
    ),
    _error(
        "S3",
        "an internal prefix that can fall through to an external node",
        "A name that our own registry does not have, or not yet, or not any more, is asked outside: whoever registers it\n"
        "there is served as if they were you (dependency confusion). Our own members own their prefixes alone; what comes\n"
        "from outside has prefixes of its own.",
        routing.falls_through,
    ),
    _error(
        "S4",
        "a push grant on a promotion-only scope",
        "In a promotion-only, replication-only or read-only scope a push is always refused, so the grant says something\n"
        "that is not so. Name those who may ask for a promotion under `by` of an edge.",
        writers.push_on_promotion_only,
    ),
    _error(
        "S5",
        "an edge into prod without signature or approval",
        "Every way into prod has at least one gate of type signature or approval. A replication has no gates, so it may\n"
        "bring images to prod from prod alone.",
        writers.ungated_prod,
    ),
    _later("S6", "fewer possible approvers than approvals"),
    _later("S7", "one principal that can both write the source and approve"),
    _error(
        "S8",
        "plain http outside loopback",
        "Credentials and images would cross the network readable and changeable. Use https: `tls:` in the topology or at\n"
        "the node, https addresses for external registries and issuers.",
        exposure.plain_http,
    ),
    Rule(
        "S9",
        Severity.ERROR,
        "an inline secret",
        "A topology is read in pull requests and copied to many places; secrets are named in it by reference alone:\n"
        "`{env: NAME}` or `{file: path}`. Found by the key it stands under (password, token, auth, privateKey) or by what\n"
        "it looks like (PEM private keys, bcrypt hashes, well-known tokens, addresses with a password). A secret that was\n"
        "committed has been seen: change it.",
        None,
        stage="load",
    ),
    _later("S10", "a gate weaker than the same gate upstream of it"),
    _warning(
        "S11",
        "a principal that pulls from prod and may also pull dev-class images",
        "What runs prod should not even be able to pull an image that went through nothing: one mistyped reference and it\n"
        "runs there. Grant dev-class scopes to people and robots that do not run prod.",
        exposure.pulls_prod_and_dev,
    ),
    _later("S12", "an edge without `by`, or one that a single dev can trigger into prod"),
    _warning(
        "S13",
        "a firewall that lets everybody in",
        "A network of length 0 (0.0.0.0/0, ::/0) in `allow` is every address there is: the firewall does nothing. Name the\n"
        "networks of those who pull and push, or leave `firewall` out.",
        firewalls.lets_everybody_in,
    ),
    _warning(
        "S14",
        "a host that firewalls know by no address",
        "Firewalls let in all hosts of the topology, by their addresses. A host whose `ssh` and `address` are names alone\n"
        "is let in only where `allow` covers it; else its mirrors and virtuals get no answer from nodes behind a firewall.",
        firewalls.known_by_name_alone,
    ),
    _later("D1", "cleanup that can delete what is soaking, held, or still served in prod"),
    _later("D2", "cleanup faster than soak, approval and freeze together"),
    _later("D3", "immutable tags that cleanup or replication would overwrite"),
    _later("D4", "cleanup that drops referrers of what it keeps"),
    _later("D5", "a platform subset of a signed index"),
    _warning(
        "D6",
        "a mirror TTL that hides a floating tag",
        "A promotion moves a tag such as `stable`, and a mirror over that scope goes on showing the old digest for its\n"
        "`tagTtl` (1h when none is written). Above five minutes somebody will take that for a failed release.",
        timing.hidden_move,
    ),
    _warning(
        "D7",
        "an external budget too small for its schedules",
        "Counted for each replication that reads this registry: its runs within `per`, times its repositories, times\n"
        "`newest` or the tags that it names. It may be less, when little has changed; but on the day when all is new the\n"
        "rest would wait for the next period, and so would everybody who pulls through a mirror of it.",
        timing.small_budget,
    ),
    _error(
        "D8",
        "eviction on prod or archive",
        "`onExceed: evict-lru` deletes the images that were pulled longest ago when space runs out. In prod and archive\n"
        "those are what a rollback or an audit needs. Reject the write instead, and watch `warnAt`.",
        exposure.eviction,
    ),
    _at_plan(
        Severity.WARNING,
        "D9",
        "a filter that matches nothing live",
        "Checked by `towpath plan` against the repositories and tags that the running nodes hold: a pattern of a grant,\n"
        "promotion, replication or keep rule that fits none of them is often misspelt. A keep rule that fits nothing keeps\n"
        "nothing. It is no error: such an image may still be to come. Of a node that holds nothing yet nothing is said.",
    ),
    _later("D10", "a freeze that covers all time"),
    _later("N1", "underscores and upper case in a name that becomes a host name (refused already, as T012)"),
    _later("N2", "names that differ only by look-alike characters"),
)
