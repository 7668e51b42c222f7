import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from caffecompat.formats.atomic import WriteError, atomic_path, atomic_together, atomic_write

# Caffe's signal for "file too large" is ignored by Python, so the limit shows as an error like a full disk does.
LIMITED = """
import resource, sys
import numpy as np
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import save_caffemodel
from caffecompat.formats.hdf5_weights import save_hdf5_weights
from caffecompat.formats.solverstate import SolverState, write_solverstate
from caffecompat.schema import pb
net = pb.NetParameter()
net.layer.add(name="ip", type="InnerProduct")
blobs = {"ip": [np.ones((500, 500), np.float32)]}
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
kind, path = sys.argv[1:]
try:
    if kind == "caffemodel":
        save_caffemodel(path, net, blobs)
    elif kind == "h5":
        save_hdf5_weights(path, blobs)
    elif kind == "many.h5":  # the groups' own bytes are what does not fit
        save_hdf5_weights(path, {f"layer{i}": [np.ones(40, np.float32)] for i in range(200)})
    else:
        write_solverstate(path, SolverState(3, "w", blobs["ip"]))
except CaffeCompatError as problem:
    print(problem)
"""


@pytest.mark.parametrize("kind", ["caffemodel", "h5", "many.h5", "solverstate", "solverstate.h5"])
def test_a_file_that_does_not_fit_leaves_the_old_one_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", LIMITED, kind, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{path}: cannot be written: " in done.stdout and "old file" in done.stdout and "unchanged" in done.stdout
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 256 KiB, where the user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as problem:
        pytest.skip(f"no mount here: {problem}")
    if done.returncode:
        pytest.skip(f"mounting a small file system is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    path = small_disk / "x"
    with atomic_write(path) as file:
        file.write(b"old")
    expected = r"No space left on device \(the old file is unchanged\); free space there"
    with pytest.raises(WriteError, match=expected), atomic_write(path) as file:
        for _ in range(100):
            file.write(bytes(10_000))
    assert path.read_bytes() == b"old" and os.listdir(small_disk) == ["x"]


def test_a_full_disk_under_hdf5(small_disk: Path) -> None:
    np = pytest.importorskip("numpy")
    from caffecompat.formats.hdf5_weights import save_hdf5_weights

    path = small_disk / "x.h5"
    save_hdf5_weights(path, {"ip": [np.ones(10, np.float32)]})
    before = path.read_bytes()
    with pytest.raises(WriteError, match="No space left on device"):
        save_hdf5_weights(path, {"ip": [np.ones((300, 300), np.float32)]})
    assert path.read_bytes() == before and os.listdir(small_disk) == ["x.h5"]


def test_a_killed_writer_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    code = (
        "import sys, time\nfrom caffecompat.formats.atomic import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        " file.write(b'new'); file.flush(); print('half', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"


def test_the_new_file_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_block_changes_nothing(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(stop), atomic_write(path) as file:
        file.write(b"new")
        raise stop
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["x"]


def test_permissions_and_links_survive(tmp_path: Path) -> None:
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink() and path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with atomic_write(tmp_path / "y") as file:
        pass
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "y").stat().st_mode) == 0o666 & ~umask


def test_devices_are_written_directly() -> None:
    with atomic_write("/dev/null") as file:
        file.write(b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(WriteError, match="No space left on device"), atomic_write("/dev/full") as file:
            file.write(b"x")


def test_the_advice_fits_the_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(WriteError, match=r"make the folder first \(mkdir -p .*no\)"),
        atomic_path(tmp_path / "no" / "x"),
    ):
        pass
    with pytest.raises(WriteError, match="name a file"), atomic_path(tmp_path):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="not a folder"), atomic_path(tmp_path / "file" / "x"):
        pass

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere, so permissions alone would prove nothing
    with pytest.raises(WriteError, match=r"Permission denied.*get write access"), atomic_path(tmp_path / "x"):
        pass


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first" and time.time() - path.stat().st_mtime < 60


def _write_both(first: Path, second: Path, text: str) -> None:
    with atomic_together(first, second) as paths:
        for path in paths:
            Path(path).write_text(text)


def test_files_that_go_together_are_replaced_together(tmp_path) -> None:
    first, second = tmp_path / "net.py", tmp_path / "net.pt"
    first.write_text("old")
    first.chmod(0o640)
    _write_both(first, second, "new")
    assert first.read_text() == second.read_text() == "new"
    assert stat.S_IMODE(first.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pt", "net.py"]


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("links", [True, False])
def test_where_one_fails_both_stay(failing, links, tmp_path, monkeypatch) -> None:
    """A full disk shows while a file is written, flushed or renamed."""
    first, second = tmp_path / "net.py", tmp_path / "net.pt"
    first.write_text("old")
    name, calls = "replace" if failing < 2 else "fsync", []
    real = getattr(os, name)

    def full(*names) -> None:
        calls.append(names)
        if len(calls) == failing % 2 + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*names)

    def no_links(*names) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, name, full)
    with pytest.raises(WriteError, match="cannot be written: No space left"):
        _write_both(first, second, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["net.py"] and first.read_text() == "old"


def test_what_cannot_be_written_is_named_as_the_user_did(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)

    def full(*names) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(WriteError) as caught, atomic_together("net.py", "net.pt") as (text, _), atomic_write(text):
        monkeypatch.setattr(os, "fsync", full)
    assert str(caught.value) == (
        "net.py: cannot be written: No space left on device; free space there ('df -h .') or write elsewhere"
    )


def test_what_goes_wrong_before_the_end_leaves_both(tmp_path) -> None:
    first, second = tmp_path / "net.py", tmp_path / "net.pt"
    second.write_text("old")
    with pytest.raises(KeyError), atomic_together(first, second) as paths:
        for path in paths:
            Path(path).write_text("new")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"] and second.read_text() == "old"
    with pytest.raises(WriteError, match="No such file"):
        _write_both(first, tmp_path / "missing" / "net.pt", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]


class _Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and what follows does not happen."""


@pytest.mark.parametrize("links", [True, False])
def test_whoever_sees_the_last_sees_what_belongs_to_it(links, tmp_path, monkeypatch) -> None:
    """Killed before or after any step, the folder holds all old files, or all new ones, or not the last one."""
    files = [tmp_path / name for name in ("weights", "extra", "state")]
    steps = 0

    def counted(real, before):
        def step(*names, **others):
            nonlocal steps
            if others:  # the temporary folder is removed, which a killed process does not do
                return real(*names, **others)
            steps += 1
            if before and steps == kill_at:
                raise _Killed
            real(*names)
            if not before and steps == kill_at:
                raise _Killed

        return step

    real = {name: getattr(os, name) for name in ("replace", "unlink", "link", "rename")}
    outcomes = set()
    for before in (True, False):
        for kill_at in range(1, 12):
            for path in files:
                path.write_text("old")
            steps = 0
            with monkeypatch.context() as patch:
                for name, function in real.items():
                    patch.setattr(os, name, counted(function, before))
                if not links:
                    patch.setattr(os, "link", refuse)
                with contextlib.suppress(_Killed), atomic_together(*files) as made:
                    for path in made:
                        Path(path).write_text("new")
            seen = [path.read_text() if path.exists() else "" for path in files]
            assert not seen[2] or len(set(seen)) == 1, (before, kill_at, seen)
            outcomes.add(seen[2])
    assert outcomes == {"old", "new", ""}


def refuse(*names) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))
