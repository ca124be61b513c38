"""The state folder of a topology: what is said before there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.promotions.test_edge_changes import TEXT
from towpath.problem import Problem
from towpath.workspace import Where


@pytest.mark.parametrize(("host", "verb"), [("eu-1: {}", "up"), ("eu-1: {ssh: deploy@10.1.0.11}", "apply")])
def test_what_was_never_started_is_started_by_the_verb_of_its_hosts(tmp_path: Path, host: str, verb: str) -> None:
    file = tmp_path / "topology.yaml"
    tls = "metadata: {name: edges}\ntls: {ca: {cert: ca.crt, key: {file: ca.key}}}"
    file.write_text(TEXT.replace("eu-1: {}", host, 1).replace("metadata: {name: edges}", tls))
    with pytest.raises(Problem) as raised:
        Where(file).open().running_state()
    assert (raised.value.code, raised.value.next) == ("not-up", f"towpath {verb} -f {file}")
