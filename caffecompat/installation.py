"""What is installed here: versions, devices, threads, and the optional parts with what each is for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from caffecompat.threads import cores

__all__ = ["Extra", "Installation", "Library", "examine_installation"]

# The extras of setup.py that users ask for, and what each is for.
PURPOSES = {
    "completion": "completion of verbs and flags in bash, zsh and tcsh",
    "leveldb": "LevelDB databases",
    "onnx": "export onnx, check of a graph, nets computed by onnxruntime",
    "plot": "curves, charts of scores",
    "proto": "--proto: a caffe.proto of your own fork",
    "sbd": "MATLAB's .mat files: lists of SBD, MatWrite",
    "tensorboard": "train --tensorboard",
}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*?\])?([^;]*)(?:;.*)?$")
_VARIABLES = re.compile(r"CAFFECOMPAT_|GLOG_|OMP_|MKL_NUM|CUDA_VISIBLE|DECENT_DEBUG$|NOT_ALIGN_CONCAT$")


@dataclass(frozen=True)
class Library:
    """A library that caffecompat, or one of its extras, asks for.

    Attributes:
        name: as pip has it.
        wanted: the versions that are accepted ("<3,>=2.5"), or "".
        version: the one that is installed, or "" where none is.
    """

    name: str
    wanted: str
    version: str

    @property
    def problem(self) -> str:
        """Why it does not do, or ""."""
        if not self.version:
            return "not installed"
        bounds = re.findall(r"(>=|<)\s*([\d.]+)", self.wanted)
        bad = [f"{sign}{bound}" for sign, bound in bounds if (_key(self.version) < _key(bound)) is (sign == ">=")]
        return f"{self.version} is installed, {' and '.join(bad)} is needed" if bad else ""


@dataclass(frozen=True)
class Extra:
    """An optional part: its name in brackets after pip's, what it is for, and the libraries that it needs."""

    name: str
    purpose: str
    libraries: Sequence[Library]

    @property
    def problem(self) -> str:
        """What is missing, or ""."""
        return ", ".join(f"{library.name} {library.problem}" for library in self.libraries if library.problem)


@dataclass(frozen=True)
class Installation:
    """What `examine_installation` found.

    Attributes:
        machine: (what, how it is here), in the order to show.
        libraries: those that every user needs.
        extras: the optional parts.
        variables: those of the environment that change what caffecompat or its libraries do.
    """

    machine: Sequence[tuple[str, str]]
    libraries: Sequence[Library]
    extras: Sequence[Extra]
    variables: Sequence[tuple[str, str]] = field(default=())

    @property
    def problems(self) -> list[str]:
        """What keeps caffecompat from working as it should; empty where nothing does."""
        return [f"{library.name}: {library.problem}" for library in self.libraries if library.problem]


def examine_installation() -> Installation:
    """Versions, devices, threads, and which optional parts are here: what ``caffecompat doctor`` prints.

    Nothing is changed. torch is imported, where it is installed.

    >>> from caffecompat import examine_installation
    >>> examine_installation().problems
    []
    """
    required, extras = _requirements()
    libraries = [_library(line) for line in required]
    parts = [Extra(name, PURPOSES[name], [_library(line) for line in extras.get(name, ())]) for name in PURPOSES]
    variables = [(name, value) for name, value in sorted(os.environ.items()) if _VARIABLES.match(name)]
    return Installation(_machine(), libraries, [part for part in parts if part.libraries], variables)


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """The lines of the package's own metadata: what everybody needs, and what each extra does."""
    required: list[str] = []
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("caffecompat") or ():
        extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
        (extras.setdefault(extra[1], []) if extra else required).append(line)
    return required, extras


def _library(requirement: str) -> Library:
    found = _REQUIREMENT.match(requirement)
    name, wanted = (found[1], found[2].strip(" ()")) if found else (requirement, "")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return Library(name, wanted, version)


def _key(version: str) -> list[int]:
    """The numbers of a release, to compare: [2, 13, 0] of "2.13.0+cpu"."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in numbers[0].split(".")] if numbers else []


def _machine() -> list[tuple[str, str]]:
    from caffecompat import __version__

    threads = os.environ.get("OMP_NUM_THREADS", "")
    rows = [
        ("caffecompat", f"{__version__}, in {os.path.dirname(os.path.abspath(__file__))}"),
        ("Python", f"{platform.python_version()}, {sys.executable}"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("cores", f"{cores()} of {os.cpu_count()}" + (f"; OMP_NUM_THREADS is {threads}" if threads else "")),
    ]
    return [
        *rows,
        *_torch_rows(),
        ("C++ compiler", shutil.which("g++") or shutil.which("clang++") or "none: no --compile"),
    ]


def _torch_rows() -> list[tuple[str, str]]:
    try:
        import torch
    except Exception as error:  # a library that it cannot load, say: every kind has been seen
        return [("torch", f"cannot be imported: {error}")]
    cuda = torch.version.cuda
    build = (
        f"built for CUDA {cuda}"
        if cuda
        else f"built for ROCm {torch.version.hip}"
        if torch.version.hip
        else "CPU build"
    )
    rows = [
        ("torch", f"{torch.__version__}, {build}"),
        ("CPU", f"{torch.backends.cpu.get_cpu_capability()} instructions, {torch.get_num_threads()} threads of torch"),
    ]
    if not torch.cuda.is_available():
        return [*rows, ("GPU", "none that torch finds; nets are computed on the CPU")]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        rows.append((f"GPU {index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {card.major}.{card.minor}"))
    return rows
