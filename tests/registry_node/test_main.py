"""``python -m registry_node``: what it says of a file that it cannot use, and what it does not say of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_node import __main__ as module


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "node.json"
    assert module.main(["--settings", str(path)]) == module.USAGE
    assert f"error[settings-invalid]: {path}: cannot be read: No such file" in capsys.readouterr().err


def test_a_disk_that_fails_while_the_node_runs_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "run_node", broken)
    with pytest.raises(OSError, match="Input/output"):
        module.main(["--settings", str(tmp_path / "node.json")])
    assert "settings-invalid" not in capsys.readouterr().err
