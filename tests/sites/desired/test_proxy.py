"""nginx in front of a host's nodes: what it is told, what the nodes behind it are told, and what they are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509

from sites.desired.hosts import DesiredHost, DesiredNode
from sites.desired.inventory import addresses_of
from sites.settings import fronts
from tests.sites import deployed

BY_NAME = (
    "eu-2: {ssh: 'deploy@10.1.0.12:2222',",
    "eu-2: {proxy: {method: subdomain, domain: r.example}, ssh: 'deploy@10.1.0.12:2222',",
)
CONF = "/etc/nginx/conf.d/towpath.conf"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


def host(base: Path, *changes: tuple[str, str]) -> DesiredHost:
    return deployed.hosts(deployed.topology(base, *changes), base)["eu-2"]


def node(host: DesiredHost, name: str) -> DesiredNode:
    return next(each for each in host.nodes if each.name == name)


def text(host: DesiredHost) -> str:
    return host.proxy.files[-1].content.decode()


def server(text: str, name: str) -> str:
    """The block of one node."""
    (found,) = re.findall(rf"# node {name}\n(server {{\n.*?\n}})", text, re.DOTALL)
    return str(found)


def test_a_node_behind_nginx_listens_on_loopback_and_believes_it_alone(base: Path) -> None:
    settings = node(host(base, BY_NAME), "ci-2").settings
    assert (settings.listen.host, settings.listen.port, settings.tls) == ("127.0.0.1", 5002, None)
    assert [str(each) for each in settings.proxies] == ["127.0.0.1/32"]
    before = node(host(base), "ci-2").settings
    assert (before.listen.host, before.proxies) == ("0.0.0.0", ()) and before.tls is not None


def test_nginx_passes_each_name_on_to_its_node(base: Path) -> None:
    wanted = host(base, BY_NAME)
    block = server(text(wanted), "ci-2")
    assert "server_name ci-2.r.example;" in block and "listen 443 ssl;" in block
    assert "ssl_certificate_key /etc/towpath/.proxy/ci-2.key;" in block
    for line in (
        "client_max_body_size 0;",
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        "proxy_http_version 1.1;",
    ):
        assert line in block
    for line in ("Host $http_host;", "X-Forwarded-For $remote_addr;", "X-Forwarded-Proto $scheme;", 'Connection "";'):
        assert f"proxy_set_header {line}" in block
    assert "upstream towpath-ci-2 {\n    server 127.0.0.1:5002;\n    keepalive 32;\n}" in text(wanted)
    assert "ssl_reject_handshake on;" in text(wanted), "another name reaches none of them"


def test_the_key_is_root_s_and_the_certificate_names_the_node_there(base: Path) -> None:
    wanted = host(base, BY_NAME)
    files = {each.path: each for each in wanted.proxy.files}
    key, certificate = files["/etc/towpath/.proxy/ci-2.key"], files["/etc/towpath/.proxy/ci-2.crt"]
    assert (key.mode, key.owner, key.secret) == (0o600, "root", True)
    read = x509.load_pem_x509_certificate(certificate.content)
    names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "ci-2.r.example" in names.get_values_for_type(x509.DNSName)
    assert b"PRIVATE KEY" not in b"".join(each.content for each in wanted.proxy.files if not each.secret)
    assert not [each for each in node(wanted, "ci-2").files if "tls" in each.path], "the node has none any more"


def test_others_ask_at_the_name_and_neighbours_on_loopback(base: Path) -> None:
    declared = deployed.topology(base, BY_NAME)
    addresses = addresses_of(declared)
    assert addresses["ci-2"].url == "https://ci-2.r.example"
    assert addresses["sandbox-1"].url == "https://10.1.0.11:5001"
    virtual = node(host(base, BY_NAME), "all-2").settings.virtual
    assert virtual is not None
    assert [(each.url, each.ca) for each in virtual.members] == [
        ("http://127.0.0.1:5002", None),
        ("http://127.0.0.1:5010", None),
    ]


def test_by_port_and_past_it(base: Path) -> None:
    by_port = (BY_NAME[0], BY_NAME[1].replace("method: subdomain, domain: r.example", "method: port"))
    ports = [
        (
            "role: replica, site: eu, host: eu-2, port: 5001",
            "role: replica, site: eu, host: eu-2, port: 5001, proxy: none",
        ),
        ("host: eu-2, port: 5002", "host: eu-2, port: 5002, proxy: {port: 8002}"),
        ("host: eu-2, port: 5010", "host: eu-2, port: 5010, proxy: {port: 8010}"),
        ("host: eu-2, port: 5020", "host: eu-2, port: 5020, proxy: {port: 8020, name: all.example}"),
    ]
    wanted = host(base, by_port, *ports)
    assert wanted.proxy.ports == (8002, 8010, 8020)
    assert "listen 8002 ssl;" in server(text(wanted), "ci-2")
    assert "towpath.invalid" not in text(wanted) and "sandbox-2" not in text(wanted)
    assert node(wanted, "sandbox-2").settings.listen.host == "0.0.0.0"
    addresses = addresses_of(deployed.topology(base, by_port, *ports))
    assert (addresses["ci-2"].url, addresses["all-2"].url) == ("https://10.1.0.12:8002", "https://all.example:8020")
    assert addresses["sandbox-2"].url == "https://10.1.0.12:5001"


def test_by_path_all_share_one_server_and_one_certificate(base: Path) -> None:
    by_path = (BY_NAME[0], BY_NAME[1].replace("method: subdomain", "method: path"))
    named = ("host: eu-2, port: 5002", "host: eu-2, port: 5002, proxy: {path: team/ci.2}")
    wanted = host(base, by_path, named)
    shown = text(wanted)
    assert wanted.proxy.ports == (443,) and shown.count("server_name r.example;") == 1
    assert [each.path for each in wanted.proxy.files] == [
        "/etc/towpath/.proxy/all-2.crt",
        "/etc/towpath/.proxy/all-2.key",
        CONF,
    ]
    assert '"~^/v2/team/ci\\.2(?<towpath_rest>/.*)$" "/v2$towpath_rest";' in shown
    assert "proxy_set_header X-Forwarded-Namespace team/ci.2;" in shown
    assert "proxy_pass http://towpath-ci-2$towpath_uri;" in shown
    declared = deployed.topology(base, by_path, named)
    addresses = addresses_of(declared)
    assert (addresses["ci-2"].url, str(addresses["all-2"])) == ("https://r.example/team/ci.2", "r.example:443/all-2")
    virtual = node(wanted, "all-2").settings.virtual
    assert virtual is not None and virtual.members[0].url == "http://127.0.0.1:5002", "neighbours go past nginx"


def test_who_asks_from_another_host_asks_below_the_path(base: Path) -> None:
    by_path = (BY_NAME[0], BY_NAME[1].replace("method: subdomain", "method: path"))
    told = fronts._remote(deployed.topology(base, by_path), "ci-2", fronts.Reach("https://r.example/ci-2"))
    assert (told["url"], told["base_path"]) == ("https://r.example", "/ci-2")


def test_others_take_no_word_of_clients_on_their_names(base: Path) -> None:
    block = server(text(host(base, BY_NAME)), "ci-2")
    for name in ("Prefix", "Namespace"):
        assert f'proxy_set_header X-Forwarded-{name} "";' in block


def test_no_proxy_no_files(base: Path) -> None:
    assert host(base).proxy.files == () and host(base).proxy.directories == ()
