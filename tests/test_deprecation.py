"""Old names of attributes give the values of the new ones, with a warning that names these."""

from __future__ import annotations

import pytest

from caffecompat.layers import Context
from caffecompat.net.weights import LoadReport
from tests.net.nets import INPUT, make_net


@pytest.mark.parametrize(
    ("old", "new"),
    [("ignored", "unexpected"), ("kept", "missing"), ("skipped", "mismatches"), ("doubts", "discrepancies")],
)
def test_old_names_of_a_load_report(old: str, new: str) -> None:
    report = LoadReport(**{new: ["conv1"]})
    with pytest.warns(DeprecationWarning, match=f"LoadReport.{old} is now called {new}") as caught:
        assert getattr(report, old) is getattr(report, new)
    assert caught[0].filename == __file__


def test_the_file_that_paths_are_relative_to() -> None:
    net, context = make_net(INPUT), Context(1, relative_to="net.prototxt")
    with pytest.warns(DeprecationWarning, match="Net.beside is now called relative_to"):
        assert net.beside == net.relative_to
    with pytest.warns(DeprecationWarning, match="Context.beside is now called relative_to"):
        assert context.beside == "net.prototxt"
