"""Build of caffecompat: a plain Python package whose schema is compiled from proto/caffe.proto.

python setup.py schema      # after a change of proto/caffe.proto in a tree that is installed
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import ClassVar

from setuptools import Command, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROTO = ROOT / "proto/caffe.proto"
SCHEMA = Path("caffecompat/schema")
HOME = "https://github.com/caffecompat/caffecompat"


class BuildPy(build_py):
    """The standard copying of modules, plus the schema compiled next to the modules that read it.

    An editable install writes it into the source tree, every other build into the build folder.
    """

    def run(self) -> None:
        super().run()
        compile_schema((ROOT if self.editable_mode else Path(self.build_lib)) / SCHEMA)


class CompileSchema(Command):
    """Compile the schema into the source tree."""

    description = "compile proto/caffe.proto into the source tree"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []

    def initialize_options(self) -> None:
        """It has no options."""

    def finalize_options(self) -> None:
        """It has no options."""

    def run(self) -> None:
        compile_schema(ROOT / SCHEMA)


def compile_schema(folder: Path) -> None:
    """Compile the schema, with its comments, to ``caffe.desc``, and the types of its messages to ``pb.pyi``."""
    from grpc_tools import protoc  # known only after the build's requirements are installed

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as types:
        arguments = [
            "protoc",
            f"--proto_path={PROTO.parent}",
            f"--descriptor_set_out={folder / 'caffe.desc'}",
            "--include_source_info",
            f"--pyi_out={types}",
            PROTO.name,
        ]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"protoc could not compile {PROTO}")
        (folder / "pb.pyi").write_text(message_types((Path(types) / "caffe_pb2.pyi").read_text(encoding="utf-8")))


def message_types(stub: str) -> str:
    """protoc's types of ``caffe_pb2`` as those of ``caffecompat.schema.pb``.

    Enum fields are plain ints there: that is what they give, and what may be written to them. Blocks given as
    dictionaries hold anything, which protoc leaves open.
    """
    enums = set(re.findall(r"^ *class (\w+)\(int, metaclass=", stub, re.MULTILINE))
    fields = re.compile(r"^(    +\w+: )(?:\w+\.)*(\w+)$", re.MULTILINE)
    stub = fields.sub(lambda field: f"{field[1]}int" if field[2] in enums else field[0], stub)
    stub = stub.replace("_Mapping]", "_Mapping[str, object]]").replace("**kwargs)", "**kwargs: object)")
    return f"{stub}\n\ndef in_use() -> bool: ...\n"


def version() -> str:
    """The version that the package itself states."""
    text = (ROOT / "caffecompat/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("caffecompat/__init__.py states no __version__")
    return found[1]


EXTRAS = {
    "completion": ["shtab>=1.6"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5"],
    "leveldb": ["plyvel>=1.5"],
    "onnx": ["onnx>=1.16", "onnxruntime>=1.18"],
    "plot": ["matplotlib>=3.7"],
    "proto": ["grpcio-tools>=1.60"],
    "sbd": ["scipy>=1.10"],
    "tensorboard": ["tensorboard>=2.14"],
}
USERS = sorted({need for purpose, needs in EXTRAS.items() if purpose != "docs" for need in needs})
# plyvel has no wheels for newer Pythons; who asks for [leveldb] there has the compiler and the headers it needs.
EXTRAS["all"] = [f'{need}; python_version < "3.13"' if need.startswith("plyvel") else need for need in USERS]
EXTRAS["dev"] = [
    *EXTRAS["all"],
    *EXTRAS["docs"],
    "coverage>=7.4",
    "hypothesis>=6.100",
    "ipykernel>=6.29",
    "mypy>=1.10",
    "nbclient>=0.10",
    "nbformat>=5.10",
    "pycocotools>=2.0.7",
    "pytest>=9.2",
    "pytest-xdist>=3.5",
    "ruff>=0.6",
    "selenium>=4.20",
    "types-protobuf>=4.25",
]

setup(
    name="caffecompat",
    version=version(),
    description="Caffe without Caffe: reads, trains, tests and exports Caffe's networks with PyTorch",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="caffecompat developers",
    url=HOME,
    project_urls={
        "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
        "Documentation": f"{HOME}/tree/main/docs",
        "Issues": f"{HOME}/issues",
        "Source": HOME,
    },
    keywords=["caffe", "prototxt", "caffemodel", "lmdb", "onnx", "dpu", "tidl", "ssd", "segmentation", "quantization"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: Microsoft :: Windows",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    license="BSD-2-Clause",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["caffecompat", "caffecompat.*"]),
    package_data={
        "caffecompat": ["py.typed"],
        "caffecompat.deploy.inference": ["*.json"],
        "caffecompat.deploy.targets": ["*/*.json"],
        "caffecompat.report": ["pages/*"],
    },
    cmdclass={"build_py": BuildPy, "schema": CompileSchema},
    install_requires=[
        "h5py>=3.10",
        "lmdb>=1.4",
        "numpy>=1.24",
        "opencv-python-headless>=4.8",
        "protobuf>=4.25.5,<8",
        "rich>=13",
        "safetensors>=0.4",
        "torch>=2.5,<3",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["caffecompat = caffecompat.__main__:main"]},
)
