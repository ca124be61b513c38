"""Holds a lab with one host until it is killed: ``python -m tests.lab.hold FOLDER``. For the test that kills it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from tests.lab import rootfs
from tests.lab.lab import Lab

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    lab = Lab(folder, rootfs.archive())
    lab.start("eu-1")
    print(json.dumps(lab.traces()), flush=True)
    time.sleep(600)
