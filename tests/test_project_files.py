"""Files around the package that nothing else would notice when they stop being true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import caffecompat

yaml = pytest.importorskip("yaml", reason="PyYAML, which mkdocs brings, is not installed")

ROOT = Path(__file__).resolve().parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(workflow: Path) -> list[str]:
    """All lines that a workflow runs."""
    steps = [step for job in read(workflow)["jobs"].values() for step in job["steps"]]
    return [line for step in steps for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_there_is(workflow: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    sessions = set(
        re.findall(r"^def ([a-z]+)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = commands(workflow)
    assert lines
    for line in lines:
        words = line.split()
        if words[0] == "make":
            assert words[1] in targets
        if words[0] == "nox":
            assert words[2].partition("-")[0] in sessions
        for script in re.findall(r"tools/\S+\.py", line):
            assert (ROOT / script).is_file()


def test_pythons_of_the_workflows_are_those_of_the_package() -> None:
    classified = set(re.findall(r'"(3\.\d+)"', (ROOT / "noxfile.py").read_text(encoding="utf-8")))
    jobs = read(ROOT / ".github/workflows/wheels.yml")["jobs"]
    assert set(jobs["use"]["strategy"]["matrix"]["python"]) == classified
    jobs = read(ROOT / ".github/workflows/tests.yml")["jobs"]
    assert {*jobs["pythons"]["strategy"]["matrix"]["python"], "3.11"} == classified


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms(form: Path) -> None:
    content = read(form)
    if form.stem == "config":
        assert all({"name", "url", "about"} <= set(link) for link in content["contact_links"])
        return
    assert {"name", "description", "body"} <= set(content)
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in content["body"])


def test_one_version() -> None:
    assert str(read(ROOT / "CITATION.cff")["version"]) == caffecompat.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    links = re.findall(r"^\[([^\]]+)\]: https://", changelog, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings == links
    assert headings[1:2] in ([], [caffecompat.__version__])


def test_the_sdist_takes_files_that_there_are() -> None:
    for line in (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines():
        kind, name, *_ = line.split()
        if kind in ("include", "graft", "recursive-include"):
            assert (ROOT / name).exists(), line
