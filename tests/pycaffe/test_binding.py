"""`import caffe`: install(), the verb run, and what is imported when."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caffecompat.cli.main import main

SCRIPT = """
import sys
import caffe
import caffe.io
import caffe.proto.caffe_pb2 as pb2
from caffe import layers as L, params as P, to_proto
from caffe._caffe import set_mode_cpu
from caffe.coord_map import crop
from caffe.proto import caffe_pb2
from caffe.pycaffe import Net, SGDSolver
import helper

assert caffe.io is sys.modules["caffecompat.pycaffe.io"] and pb2 is caffe_pb2
assert __name__ == "__main__" and caffe.TEST == caffe_pb2.TEST == 1 and caffe.__version__ == "1.0.0"
assert issubclass(caffe.Classifier, caffe.Net) and Net is caffe.Net and caffe.pycaffe is caffe and P.Pooling.AVE == 1
print(sys.argv[1:], helper.VALUE, len(to_proto(L.Input()).layer))
sys.exit(3)
"""


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


RUN = "import sys; from caffecompat.cli.main import main; sys.exit(main(['run', *sys.argv[1:]]))"


def test_run(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/helper.py").write_text("VALUE = 42")
    (tmp_path / "scripts/a.py").write_text(SCRIPT)
    done = python(RUN, tmp_path, "scripts/a.py", "--base_lr=1", "train", "--debug", "-x")
    assert done.stdout == "['--base_lr=1', 'train', '--debug', '-x'] 42 1\n", done.stderr
    assert done.returncode == 3


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scripts_in_process: None) -> Path:
    """The current folder, for scripts run in this process."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_errors_of_a_script_begin_with_its_own_lines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.py").write_text("import caffe\n\ndef f():\n    caffe.Net('missing.prototxt', caffe.TEST)\n\nf()\n")
    assert main(["run", "bad.py"]) == 1
    told = capsys.readouterr().err
    assert told.startswith('Traceback (most recent call last):\n  File "bad.py", line 6, in <module>')
    assert "missing.prototxt" in told.splitlines()[-1]


@pytest.mark.parametrize(
    "line",
    [
        "print 'loss', x",
        "exec 'x'",
        "except ValueError, e:",
        "raise ValueError, 'x'",
        "if a <> b:",
        "x = 0755",
        "n = 5L",
    ],
)
def test_python_2_is_named_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    script = tmp_path / "old.py"
    script.write_text(f"import sys\ntry:\n    pass\n{line}\n" if line.startswith("except") else f"import sys\n{line}\n")
    assert main(["run", str(script)]) == 2
    told = capsys.readouterr().err
    assert f"{script}:" in told and line.split()[0] in told and "looks like Python 2" in told and "2to3 -w" in told


def test_other_mistakes_are_not_python_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "typo.py"
    script.write_text("x = (1,\n")
    assert main(["run", str(script)]) == 2
    assert "Python 2" not in capsys.readouterr().err
    assert main(["run", str(tmp_path / "none.py")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_python_2_names_get_a_note(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "old.py").write_text("for i in xrange(3):\n    pass\n")
    (here / "imports.py").write_text("import old_module\n")
    (here / "old_module.py").write_text("print 1\n")
    assert main(["run", "old.py"]) == 1
    told = capsys.readouterr().err
    assert "NameError" in told and "2to3 -w old.py" in told
    assert main(["run", "imports.py"]) == 1
    assert f"2to3 -w {here / 'old_module.py'}" in capsys.readouterr().err


def test_install_twice_and_beside_a_real_caffe(tmp_path: Path) -> None:
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe/__init__.py").write_text("real = True")
    code = (
        "import caffecompat; ours = caffecompat.pycaffe; assert ours.install() is ours is ours.install()\n"
        "import caffe; assert caffe is ours and not hasattr(caffe, 'real')"
    )
    assert python(code, tmp_path).returncode == 0
    done = python("import caffe, caffecompat.pycaffe as ours; assert caffe.real; ours.install()", tmp_path)
    assert done.returncode == 1
    assert "another caffe has been imported already" in done.stderr and "caffe/__init__.py" in done.stderr


def test_what_needs_no_torch_loads_none(tmp_path: Path) -> None:
    code = (
        "import sys, caffecompat.pycaffe as caffe\n"
        "caffe.io, caffe.draw, caffe.coord_map, caffe.proto.caffe_pb2.NetParameter, caffe.Timer, caffe.TRAIN\n"
        "print(caffe.to_proto(caffe.layers.Input()), 'torch' in sys.modules)"
    )
    assert python(code, tmp_path).stdout.endswith("False\n")


def test_the_surface_is_complete() -> None:
    import caffecompat.pycaffe as caffe

    for name in caffe.__all__:
        assert getattr(caffe, name) is not None
    assert set(caffe.__all__) <= set(dir(caffe))
    with pytest.raises(AttributeError, match="no attribute 'Nets'"):
        caffe.Nets  # noqa: B018


def test_private_names_of_caffe_pb2() -> None:
    from caffecompat.pycaffe.proto import caffe_pb2

    assert caffe_pb2._V1LAYERPARAMETER_LAYERTYPE.values_by_name["CONVOLUTION"].number == 4
    assert caffe_pb2._POOLINGPARAMETER_POOLMETHOD.values_by_number[0].name == "MAX"
    assert caffe_pb2._NETPARAMETER is caffe_pb2.NetParameter.DESCRIPTOR
    assert caffe_pb2.Phase.Value("TEST") == caffe_pb2.TEST
    assert {"NetParameter", "TRAIN"} <= set(dir(caffe_pb2))
    with pytest.raises(AttributeError):
        caffe_pb2._NOTHING  # noqa: B018
