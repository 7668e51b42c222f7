"""Old names of attributes give the values of the new ones, with a warning that names these."""

from __future__ import annotations

import pytest

from caffecompat.net.weights import LoadReport


@pytest.mark.parametrize(
    ("old", "new"),
    [("ignored", "unexpected"), ("kept", "missing"), ("skipped", "mismatches"), ("doubts", "discrepancies")],
)
def test_old_names_of_a_load_report(old: str, new: str) -> None:
    report = LoadReport(**{new: ["conv1"]})
    with pytest.warns(DeprecationWarning, match=f"LoadReport.{old} is now called {new}") as caught:
        assert getattr(report, old) is getattr(report, new)
    assert caught[0].filename == __file__
