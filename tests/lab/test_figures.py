"""What a plan says of what the running nodes hold, and what it refuses by what a real host shows of its disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.company import SMALL, Company
from tests.lab.deployed import image
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
HOST, OTHER = "us-2", "us-1"


@pytest.fixture
def filled(lab: Lab, tmp_path: Path) -> Iterator[Company]:
    """One node with apps/api:1.0 and 2.0 in it; a second host in the topology on which nothing runs."""
    lab.reset(HOST)
    lab.reset(OTHER)
    address, other = lab.hosts[HOST].address, lab.hosts[OTHER].address
    text = SMALL.format(host=HOST, address=address).replace(
        "}}}\nusers", f"}}, {OTHER}: {{ssh: deploy@{other}}}}}}}\nusers"
    )
    company = Company.found(lab, tmp_path / "small", text)
    company.towpath("apply")
    layout = image(tmp_path / "image")
    for tag in ("1.0", "2.0"):
        dev = f"dev:{company.secret('dev.password')}"
        company.skopeo("copy", "--dest-creds", dev, f"oci:{layout}:1.0", f"docker://{address}:5001/apps/api:{tag}")
    yield company
    lab.mend()
    lab.reset(HOST)
    lab.reset(OTHER)


def test_figures_of_what_a_plan_means(filled: Company) -> None:
    assert filled.towpath("plan", "-o", "json").rows == [], "nothing is changed and nobody is asked for a figure"

    filled.edit("keep: [{pushedWithin: 3d}]", "keep: [{newest: 1}, {tags: [stabel]}]")
    rows = filled.towpath("plan", "-o", "json").rows
    (change,) = [each for each in rows if each.get("operation") == "cleanup"]
    assert change["change"] == "keep pushedWithin 3d, every 1h -> keep newest 1 or tags stabel, every 1h"
    (taken,) = [each for each in rows if each.get("warning") == "cleanup"]
    assert (taken["scope"], taken["deletes"], taken["of"]) == ("sandbox", 1, 2)
    (idle,) = [each for each in rows if each.get("code") == "D9"]
    assert "stabel" in idle["message"] and "sandbox-1" in idle["message"]
    assert filled.towpath("plan", "--detailed-exitcode", "-o", "json", expect=3).rows == rows
    filled.towpath("apply")
    after = filled.towpath("plan", "-o", "json").rows
    assert [each.get("code") for each in after] == ["D9"], "the rules are applied; the filter still fits nothing"

    replica = f"  sandbox-2: {{kind: local, scope: sandbox, role: replica, site: eu, host: {OTHER}, port: 5001}}\n"
    copy = "replications:\n  - {id: both, from: sandbox-1, to: [sandbox-2], on: event}\n"
    filled.file.write_text(f"{filled.file.read_text()}{replica}{copy}")
    rows = filled.towpath("plan", "-o", "json").rows
    (edge,) = [each for each in rows if each.get("site") == "edge"]
    assert (edge["sign"], edge["node"], edge["change"]) == ("+", "both", "sandbox-1 -> sandbox-2; on: event")
    (added,) = [each for each in rows if each.get("operation") == "node"]
    assert added["change"].startswith("local of sandbox, port 5001, needs ")
    assert added["change"].endswith(" free")

    filled.lab.on(HOST, "systemctl stop towpath-sandbox-1")
    (silent,) = [each for each in filled.towpath("plan", "-o", "json").rows if each.get("warning") == "not-asked"]
    assert (silent["node"], silent["why"]) == ("sandbox-1", "it is inactive")

    filled.edit(
        "scopes:\n  sandbox:\n",
        "slas: {safe: {availability: 99, atRest: encrypted}}\nscopes:\n  sandbox:\n    sla: safe\n",
    )
    refused = filled.towpath("plan", "-o", "json", expect=4)
    assert refused.codes == ["at-rest-not-shown"] * 2
    assert "overlay" in refused.err, "the device that the host's data lie on"
