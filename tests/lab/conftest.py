"""The lab, booted once for all of its tests; after each test its lines are mended and its hosts are on again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import rootfs
from tests.lab.capability import require_programs, why_not
from tests.lab.lab import Lab

# The first test of a run waits for the boot; on a machine that never had it, for the root file system too.
SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("lab") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Four hosts that run, with lines that carry. What a test writes to a host stays there; see ``Lab.reset``."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    require_programs()
    lab = Lab(tmp_path_factory.mktemp("lab"), rootfs.archive())
    try:
        lab.start()
        yield lab
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def mended(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test finds what another one has broken."""
    yield
    if "lab" not in request.fixturenames:
        return
    lab: Lab = request.getfixturevalue("lab")
    lab.mend()
    off = [name for name in lab.hosts if not lab.is_up(name)]
    for name in off:
        lab.kill(name)
    if off:
        lab.start(*off)
