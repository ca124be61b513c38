"""nginx in front of a node on a real host: pushed and pulled through, left alone by a second apply, and put back whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployed import PASSWORD, TOKEN, Deployment, image
from tests.lab.lab import Lab
from tests.lab.test_apply import ONE_NODE

pytestmark = pytest.mark.lab

NAME = "sandbox-eu.r.example"
CONF = "/etc/nginx/conf.d/towpath.conf"
BEHIND = "proxy: {method: subdomain, domain: r.example}, ssh:"
BY_PATH = BEHIND.replace("subdomain", "path")


@pytest.fixture(scope="module")
def one(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A node that stands alone on eu-1, and then behind nginx; the tests go on from there, in their order."""
    lab.reset("eu-1")
    deployment = Deployment(lab, tmp_path_factory.mktemp("proxied"), ONE_NODE)
    deployment.towpath("apply")
    deployment.change("{ssh:", f"{{{BEHIND}")
    refused = deployment.towpath("apply", check=False)
    assert "name-unknown" in refused.stderr and NAME in refused.stderr, "no DNS says where the name leads"
    lab.run(["sh", "-c", f"echo '10.91.1.11 {NAME}' >> /etc/hosts"])  # the box's own file, not this machine's
    applied = deployment.towpath("apply")
    assert "nginx passes clients on" in applied.stderr and "sandbox-eu runs and serves" in applied.stderr
    yield deployment


def test_a_real_client_pushes_and_pulls_through_nginx(one: Deployment, tmp_path: Path) -> None:
    target = f"docker://{NAME}/apps/hello:1.0"
    source = f"oci:{image(tmp_path / 'image')}:1.0"
    one.skopeo("copy", "--dest-creds", f"dev:{PASSWORD}", "--dest-cert-dir", one.certificates, source, target)
    pulled = one.skopeo("inspect", "--creds", f"robot:{TOKEN}", "--cert-dir", one.certificates, target)
    assert json.loads(pulled.stdout)["Os"] == "linux"
    listening = one.lab.on("eu-1", "ss -Hltn 'sport = :5001'").stdout.split()
    assert "127.0.0.1:5001" in listening, "nobody gets past nginx"
    seen = one.lab.on(
        "eu-1", "journalctl --namespace=towpath -o cat -u towpath-sandbox-eu | grep '\"PUT\"' | tail -1"
    ).stdout
    assert json.loads(seen)["remote"] not in ("", "127.0.0.1"), "the node knows its client"
    other = one.lab.run(
        ["curl", "-sk", "--resolve", "x.r.example:443:10.91.1.11", "https://x.r.example/v2/"], check=False
    )
    assert other.returncode != 0, "another name reaches no node"


def test_a_second_apply_changes_nothing(one: Deployment) -> None:
    assert one.towpath("plan", "--detailed-exitcode").returncode == 0
    assert "Nothing to do." in one.towpath("apply").stderr
    assert one.towpath("drift").returncode == 0
    left = one.lab.on("eu-1", "ls /etc/towpath/sandbox-eu /etc/towpath/sandbox-eu/credentials").stdout
    assert "tls" not in left, "the node's own certificate and key went when nginx had taken over"
    assert (
        one.lab.on("eu-1", "stat -c '%a %U' /etc/towpath/.proxy /etc/towpath/.proxy/*.key").stdout
        == "700 root\n600 root\n"
    )


def test_what_nginx_refuses_gives_way_to_what_it_had(one: Deployment) -> None:
    before = one.lab.on("eu-1", f"cat {CONF}").stdout
    pair = "ssl_certificate /etc/towpath/.proxy/sandbox-eu.crt; ssl_certificate_key /etc/towpath/.proxy/sandbox-eu.key;"
    server = f"server {{ listen 443 ssl; server_name {NAME}; {pair} }}"
    one.lab.on("eu-1", "cat > /etc/nginx/conf.d/other.conf", stdin=server)
    one.lab.on("eu-1", f"echo '# by hand' >> {CONF}")
    failed = one.towpath("apply", check=False)
    assert failed.returncode == 7, failed.stderr
    assert "another file of nginx has a server of this name" in failed.stderr
    assert one.lab.on("eu-1", f"cat {CONF}").stdout == f"{before}# by hand\n"
    words = ["curl", "-s", "--cacert", str(one.folder / "pki" / "ca.crt"), f"https://{NAME}/readyz", "-o", "/dev/null"]
    assert one.lab.run([*words, "-w", "%{http_code}"]).stdout == "200", "it serves all the while"
    one.lab.on("eu-1", "rm /etc/nginx/conf.d/other.conf")
    one.towpath("apply")
    assert one.lab.on("eu-1", f"cat {CONF}").stdout == before
    assert one.towpath("drift").returncode == 0


def test_by_path_the_same_nginx_shows_it_below_the_domain(one: Deployment, tmp_path: Path) -> None:
    one.lab.run(["sh", "-c", "echo '10.91.1.11 r.example' >> /etc/hosts"])
    one.change(BEHIND, BY_PATH)
    applied = one.towpath("apply")
    assert "nginx passes clients on" in applied.stderr, "the canary went by https://r.example/v2/sandbox-eu/"
    assert one.towpath("plan", "--detailed-exitcode").returncode == 0
    target = "docker://r.example/sandbox-eu/apps/hello:2.0"
    source = f"oci:{image(tmp_path / 'image')}:1.0"
    one.skopeo("copy", "--dest-creds", f"dev:{PASSWORD}", "--dest-cert-dir", one.certificates, source, target)
    listed = one.skopeo("list-tags", "--creds", f"robot:{TOKEN}", "--cert-dir", one.certificates, target[:-4])
    assert json.loads(listed.stdout)["Tags"] == ["1.0", "2.0"]


def test_without_it_the_node_is_reached_itself_again(one: Deployment) -> None:
    one.change(BY_PATH, "ssh:")
    applied = one.towpath("apply")
    assert "nginx passes nobody on any more" in applied.stderr
    assert one.lab.on("eu-1", f"ls {CONF} /etc/towpath/.proxy", check=False).stdout == ""
    assert one.towpath("plan", "--detailed-exitcode").returncode == 0
    target = "docker://10.91.1.11:5001/apps/hello:1.0"
    pulled = one.skopeo("inspect", "--creds", f"robot:{TOKEN}", "--cert-dir", one.certificates, target)
    assert json.loads(pulled.stdout)["Os"] == "linux"
