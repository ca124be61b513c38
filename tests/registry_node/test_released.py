"""The build that /metrics names."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from registry_node import released


@pytest.mark.parametrize(("folder", "release"), [("0123456789abcdef", "0123456789abcdef"), ("checkout", "")])
def test_a_release_is_known_by_its_folder_even_through_a_link(tmp_path: Path, folder: str, release: str) -> None:
    """As on a host: the process finds its modules below a link to the release."""
    room = tmp_path / "releases" / folder / "registry_node"
    room.mkdir(parents=True)
    shutil.copy(str(released.__file__), room / "released.py")
    (tmp_path / "node").symlink_to(f"releases/{folder}")
    spec = importlib.util.spec_from_file_location("released_there", tmp_path / "node" / "registry_node" / "released.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert release == module.RELEASE
