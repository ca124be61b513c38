"""What schemathesis loads (SCHEMATHESIS_HOOKS): names of repositories. It would send a slash as %2F, which is no name."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("repository-name", st.sampled_from(["api", "a.b_c", "x--y"]))
