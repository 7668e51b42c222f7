from pathlib import Path

import numpy as np
import pytest

from caffecompat import wire
from caffecompat.formats import WeightsError
from caffecompat.formats.solverstate import SolverState, read_solverstate, write_solverstate
from caffecompat.schema import pb
from tests.formats.protobytes import legacy, message, packed, shape

GOLDEN = Path(__file__).parents[1] / "golden"
BVLC = sorted(path for folder in ("solvers", "cli") for path in (GOLDEN / folder).rglob("*.solverstate"))


def test_recorded_states_read_as_protobuf_reads_them() -> None:
    assert len(BVLC) >= 50
    for path in BVLC:
        expected, found = pb.SolverState(), read_solverstate(path)
        expected.ParseFromString(path.read_bytes())
        assert (found.iter, found.learned_net) == (expected.iter, expected.learned_net)
        assert found.current_step == expected.current_step and found.minimum_loss is None
        assert [array.shape for array in found.history] == [tuple(blob.shape.dim) for blob in expected.history]
        for ours, theirs in zip(found.history, expected.history, strict=True):
            np.testing.assert_array_equal(ours.reshape(-1), np.array(theirs.data, np.float32))


def test_recorded_states_are_written_byte_for_byte(tmp_path: Path) -> None:
    for path in BVLC:
        write_solverstate(tmp_path / "s.solverstate", read_solverstate(path))
        assert (tmp_path / "s.solverstate").read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("run", ["sgd", "sgd_bn"])
def test_jacintos_raw_states(golden: Path, run: str) -> None:
    state = read_solverstate(golden / "solvers_jacinto" / run / "_iter_5.solverstate")
    assert state.iter == 5 and len(state.history) >= 10
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in state.history)


def full_state() -> SolverState:
    history = [np.random.default_rng(0).random((3, 2), np.float32), np.zeros(4), np.array(2, np.float32)]
    return SolverState(7, "dir/net_iter_7.caffemodel", history, 2, 0.5, 6)


@pytest.mark.parametrize("name", ["s.solverstate", "s.solverstate.h5"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    for state in (full_state(), SolverState(0)):
        write_solverstate(tmp_path / name, state)
        found = read_solverstate(tmp_path / name)
        for ours, theirs in zip(found.history, state.history, strict=True):
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            np.testing.assert_array_equal(ours, theirs)
        found.history = state.history
        assert found == state


def test_hdf5_holds_what_caffe_reads(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    write_solverstate(tmp_path / "s.h5", full_state())
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["iter"].shape == (1,) and file["iter"].dtype == np.int32 and file["iter"][0] == 7
        assert file["current_step"][0] == 2
        kind = file["learned_net"].id.get_type()
        # Caffe reads into a buffer of exactly this size and takes the result for a C string.
        assert kind.get_size() == len("dir/net_iter_7.caffemodel") + 1 and kind.get_strpad() == h5py.h5t.STR_NULLTERM
        assert sorted(file["history"]) == ["0", "1", "2"]


def test_states_of_2014_have_legacy_shapes_and_no_step(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    data = wire.varint_field(1, 9) + message(3, legacy(1, 1, 2, 3), packed(5, values))
    (tmp_path / "s").write_bytes(data)
    state = read_solverstate(tmp_path / "s")
    assert (state.iter, state.learned_net, state.current_step) == (9, "", 0)
    np.testing.assert_array_equal(state.history[0], values.reshape(1, 1, 2, 3))


def test_what_is_no_state_is_named(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"this is a caffemodel, not a solver state: give it as weights"):
        read_solverstate(golden / "solvers/sgd/_iter_5.caffemodel")
    with pytest.raises(WeightsError, match="a text file"):
        read_solverstate(golden / "solvers/sgd/solver.prototxt")
    with pytest.raises(WeightsError, match="no such file"):
        read_solverstate(tmp_path / "none.solverstate")
    (tmp_path / "mean").write_bytes(legacy(1, 1, 1, 1) + packed(5, np.ones(1, np.float32)))
    with pytest.raises(WeightsError, match="a single blob, such as a mean image"):
        read_solverstate(tmp_path / "mean")


def test_a_cut_off_state_names_the_place(golden: Path, tmp_path: Path) -> None:
    data = (golden / "solvers/adam/_iter_5.solverstate").read_bytes()
    (tmp_path / "s").write_bytes(data[:1000])
    with pytest.raises(WeightsError, match=r"cut short.*offset \d+ of 1000.*history"):
        read_solverstate(tmp_path / "s")
    (tmp_path / "s").write_bytes(wire.varint_field(1, 3) + message(3, shape(5), packed(5, np.ones(4, np.float32))))
    with pytest.raises(WeightsError, match=r"history 0: the shape \(5,\) has 5 values, the file holds 4"):
        read_solverstate(tmp_path / "s")


def test_hdf5_that_is_no_state(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("data")
    with pytest.raises(WeightsError, match="it is weights"):
        read_solverstate(tmp_path / "w.h5")
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["iter"] = [1]
        file["history/0"] = [1.0]
        file["history/2"] = [1.0]
    with pytest.raises(WeightsError, match="has gaps: 0, 2"):
        read_solverstate(tmp_path / "g.h5")
