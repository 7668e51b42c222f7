"""The tool that looks for leaks finds none in a short run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parents[2] / "tools/soak/soak.py"


def test_nothing_grows() -> None:
    words = [sys.executable, str(SOAK), "--iterations", "200", "--objects", "30"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("flat over the second half") == 3
