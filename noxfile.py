"""The tests in environments of their own: each Python, the lowest versions setup.py accepts, and an installed wheel.

    nox                  # all sessions whose Python is on this machine
    nox -s lowest        # one of them
    nox -s tests-3.12 -- tests/layers -k pooling

It needs uv, which resolves to the lowest versions and finds Pythons that are not on PATH.
"""

from __future__ import annotations

from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
TEST_TOOLS = ["hypothesis>=6.100", "pycocotools>=2.0.7", "pytest>=9.2", "pytest-xdist>=3.5"]

nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite with the newest versions that setup.py accepts."""
    session.install("-e", ".[all,docs]", *TEST_TOOLS)
    _suite(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The suite with the lowest versions that setup.py accepts of everything it names."""
    session.install("--resolution=lowest-direct", "-e", ".[all]", *TEST_TOOLS)
    _suite(session, "--ignore=tests/docs")


@nox.session(python=PYTHONS)
def wheel(session: nox.Session) -> None:
    """The built wheel without extras, used outside of the checkout."""
    dist = Path(session.create_tmp()).resolve()
    session.run("uv", "build", "--wheel", "--out-dir", str(dist), str(ROOT), external=True)
    session.install(*[str(file) for file in dist.glob("*.whl")])
    session.chdir(dist)
    session.run("caffecompat", "--version")
    session.run("caffecompat", "doctor")
    session.run("caffecompat", "new", "classification", "--help", silent=True)
    session.run("caffecompat", "demo", "--out", "demo_out")


def _suite(session: nox.Session, *more: str) -> None:
    session.run("python", "-m", "pytest", "-n", "2", *more, *session.posargs, env={"OMP_NUM_THREADS": "1"})
