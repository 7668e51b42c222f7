"""Build of caffecompat: a plain Python package whose schema is compiled from proto/caffe.proto."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROTO = ROOT / "proto/caffe.proto"
DESCRIPTOR = Path("caffecompat/schema/caffe.desc")


class BuildPy(build_py):
    """The standard copying of modules, plus the schema compiled next to the modules that read it.

    An editable install writes it into the source tree, every other build into the build folder.
    """

    def run(self) -> None:
        super().run()
        compile_schema((ROOT if self.editable_mode else Path(self.build_lib)) / DESCRIPTOR)


def compile_schema(target: Path) -> None:
    """Compile the schema, with its comments, to ``target``."""
    from grpc_tools import protoc  # known only after the build's requirements are installed

    target.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        "protoc",
        f"--proto_path={PROTO.parent}",
        f"--descriptor_set_out={target}",
        "--include_source_info",
        PROTO.name,
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc could not compile {PROTO}")


def version() -> str:
    """The version that the package itself states."""
    text = (ROOT / "caffecompat/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("caffecompat/__init__.py states no __version__")
    return found[1]


EXTRAS = {
    "leveldb": ["plyvel>=1.5"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    "plot": ["matplotlib>=3.7"],
    "proto": ["grpcio-tools>=1.60"],
}
EXTRAS["dev"] = [
    *EXTRAS["leveldb"],
    *EXTRAS["onnx"],
    *EXTRAS["plot"],
    *EXTRAS["proto"],
    "hypothesis>=6.100",
    "mypy>=1.10",
    "pycocotools>=2.0.7",
    "pytest>=8",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "types-protobuf>=4.25",
]

setup(
    name="caffecompat",
    version=version(),
    description="Reads, trains and writes Caffe's networks with PyTorch",
    license="BSD-2-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["caffecompat", "caffecompat.*"]),
    package_data={"caffecompat": ["py.typed"], "caffecompat.deploy.targets": ["*/*.json"]},
    cmdclass={"build_py": BuildPy},
    install_requires=[
        "h5py>=3.8",
        "lmdb>=1.4",
        "numpy>=1.24",
        "opencv-python-headless>=4.8",
        "protobuf>=4.25,<8",
        "rich>=13",
        "safetensors>=0.4",
        "torch>=2.3,<3",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["caffecompat = caffecompat.__main__:main"]},
)
