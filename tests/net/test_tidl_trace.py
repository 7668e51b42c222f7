"""Folders of TIDL's traces whose files are damaged or of odd names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.net.tidl_trace import LAYER_INFO, find_traces, write_tidl_trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert write_tidl_trace(tmp_path, [("conv", np.ones((1, 2, 3, 4))), ("fc out", np.zeros((1, 5)))]) == 2
    return tmp_path


def test_names_with_blanks(folder: Path) -> None:
    traces = find_traces(folder)
    assert list(traces) == ["conv", "fc out"]
    assert traces["conv"].read().shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "name",
    [
        *("tidl_trace__2x3_float.bin", "tidl_trace_0_2x3_float.bin", "tidl_trace_0__1_2x3_float.bin"),
        *("tidl_trace_subgraph_٣_0001_0001_00001_00002_000006x00004_float.bin", "tidl_trace0001_2_axb_float.bin"),
        "tidl_trace_subgraph_0_0001_" + "9" * 60 + "_2x3_float.bin",
    ],
)
def test_files_of_other_names_are_no_traces(folder: Path, name: str) -> None:
    (folder / name).write_bytes(bytes(24))
    assert list(find_traces(folder)) == ["conv", "fc out"]


@pytest.mark.parametrize("sizes", ["0_999999999_999999999_999999999_2x3", "1_7_2x3", "1_1_0x3", "9_999999999_2x3"])
def test_sizes_that_the_file_has_not(folder: Path, sizes: str) -> None:
    (folder / f"tidl_trace_subgraph_0_0009_{sizes}_float.bin").write_bytes(bytes(24))
    with pytest.raises(CaffeCompatError, match="6 values, its name says"):
        find_traces(folder)["0/9"].read()


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    trace = find_traces(folder)["conv"]
    trace.path.unlink()
    trace.path.mkdir()
    with pytest.raises(CaffeCompatError, match="cannot be read"):
        trace.read()


@pytest.mark.parametrize("kind", ["folder", "link to itself"])
def test_a_list_of_names_that_cannot_be_read_is_named(folder: Path, kind: str) -> None:
    path = folder / LAYER_INFO
    path.unlink()
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.name)
    with pytest.raises(CaffeCompatError, match="cannot read the names of the layers"):
        find_traces(folder)


def test_lines_that_are_none_are_passed_over(folder: Path) -> None:
    (folder / LAYER_INFO).write_bytes(b"0 0 conv\n\xff\n1 \xc2\xb2 x\n1 " + b"9" * 5000 + b" x\n1 x\n2 1 fc out \n")
    assert list(find_traces(folder)) == ["conv", "fc out"]


def test_two_traces_of_one_layer(folder: Path) -> None:
    trace = find_traces(folder)["conv"].path
    trace.with_name(trace.name.replace("00002", "2")).write_bytes(trace.read_bytes())
    with pytest.raises(CaffeCompatError, match="are of one layer"):
        find_traces(folder)
