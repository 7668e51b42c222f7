"""Every command and every piece of Python on the site runs, in the order of its page, in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, Block, blocks_of, is_long, write_world
from tests.docs.shell import caffecompat_words, commands_of, environment_restored, parse, run_command

SHELL = ("shell", "bash", "console")
FILES = ("prototxt", "proto", "text", "python", "yaml", "json", "")
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_flags_of_all_commands_are_known(page: Path) -> None:
    """Of those, too, that only a cluster could run."""
    for block in blocks_of(page):
        if block.language in SHELL and block.status != 2:
            for words in filter(None, map(caffecompat_words, commands_of(block.text))):
                try:
                    parse(words)
                except Exception as error:
                    pytest.fail(f"{block}: {' '.join(words)}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_in_blocks_that_run(page: Path) -> None:
    """No command in an indented block, and none in a block of an unknown language."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.M | re.S)
    assert not re.findall(r"^(?:    |\t)\$? ?(?:caffecompat|python|pip) .*", text, re.M)
    assert {block.language for block in blocks_of(page)} <= {*SHELL, *FILES}
    for block in blocks_of(page):
        assert block.language in SHELL or not re.match(r"\$? ?(?:caffecompat|python|pip) ", block.text), block


def _marks(page: Path) -> list[pytest.MarkDecorator]:
    return [pytest.mark.nightly] if is_long(page) else []


CASES = [pytest.param(page, id=name, marks=_marks(page)) for page, name in zip(PAGES, NAMES, strict=True)]


@pytest.mark.parametrize("page", CASES)
def test_examples_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    scripts_in_process: None,
) -> None:
    blocks = blocks_of(page)
    counts: Counter[str] = Counter()
    with environment_restored():
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        write_world(page)
        names: dict[str, object] = {"__name__": "__main__"}
        output = ""
        for block in blocks:
            if block.not_run:
                counts["marked as not run"] += 1
            elif block.title:
                Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                Path(block.title).write_text(block.text)
            elif block.prints:
                _check_output(block, output)
                counts["of output"] += 1
            elif block.language in SHELL:
                output = _run_shell(block)
                counts["of commands"] += 1
            elif block.language == "python":
                output = _run_python(block, names)
                counts["of Python"] += 1
    for what, count in counts.items():
        for number in range(count):
            record_property("line of", ("blocks on the site", f"{what}: {page.name} {number}"))


def _run_shell(block: Block) -> str:
    commands, output = commands_of(block.text), ""
    for number, command in enumerate(commands, 1):
        status, written = run_command(command)
        output += written
        wanted = block.status if number == len(commands) else 0
        assert status == wanted, f"{block}: {command}\n{written[-2000:]}"
    return output


def _run_python(block: Block, names: dict[str, object]) -> str:
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile("\n" * block.line + block.text, str(block.page), "exec"), names)
    except Exception as error:
        raise AssertionError(f"{block}: {type(error).__name__}: {error}") from error
    return output.getvalue()


def _check_output(block: Block, output: str) -> None:
    for line in filter(None, map(str.strip, block.text.splitlines())):
        if line != "...":
            pattern = re.sub(r"\\ +", r"\\s+", ".*".join(map(re.escape, line.split("..."))))
            assert re.search(pattern, output), f"{block}: {line!r} is not in\n{output[-3000:]}"
