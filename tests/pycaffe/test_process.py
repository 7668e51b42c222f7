"""Log level, timers and the single-solver stand-ins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import caffecompat.pycaffe as caffe
from caffecompat import glog
from caffecompat.errors import CaffeCompatError


@pytest.fixture
def lines() -> Iterator[list[str]]:
    taken: list[str] = []
    glog.set_sink(taken.append)
    yield taken
    glog.set_sink(None)
    glog.set_min_level(None)


def test_log_and_its_level(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOG_minloglevel", raising=False)
    caffe.log("hello")
    assert lines.pop().endswith("] hello")
    caffe.init_log(1, True)
    caffe.log("hidden")
    glog.warning("seen")
    assert [line[0] for line in lines] == ["W"]
    caffe.set_logging_disabled()
    glog.error("hidden")
    caffe.init_log()
    caffe.log("again")
    assert [line[0] for line in lines] == ["W", "I"]


def test_level_from_the_environment(lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOG_minloglevel", "2")
    glog.warning("hidden")
    glog.error("seen")
    assert len(lines) == 1


def test_timer() -> None:
    timer = caffe.Timer()
    timer.start()
    timer.stop()
    assert 0 <= timer.ms < 1000


def test_one_solver_only() -> None:
    assert not caffe.has_nccl()
    assert isinstance(caffe.NCCL.new_uid(), bytes)
    caffe.set_solver_count(1)
    caffe.set_solver_rank(0)
    caffe.set_multiprocess(True)
    assert (caffe.solver_count(), caffe.solver_rank()) == (1, 0)
    with pytest.raises(CaffeCompatError, match="--gpu all"):
        caffe.set_solver_count(2)
