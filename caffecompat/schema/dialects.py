"""Who defines what: the Caffe forks behind each field and each layer type.

Fields are not listed here a second time. The comments of ``proto/caffe.proto`` say which forks define them, and the
compiled schema carries the comments; they are read when an error message first asks. Layer types are what each fork
registers with its layer factory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, SourceCodeInfo

from caffecompat.schema import pool

__all__ = ["FORKS", "FieldNote", "field_note", "layer_forks", "layer_types", "message_note", "spell"]

FORKS = {
    "B": "BVLC Caffe",
    "S": "SSD Caffe",
    "J": "caffe-jacinto 0.17",
    "J16": "caffe-jacinto 0.16",
    "J15": "caffe-jacinto 0.15",
    "X": "Xilinx Caffe",
    "E": "ENet Caffe",
    "G": "SegNet Caffe",
    "P": "PSPNet Caffe",
    "D": "DeepLab Caffe",
}
"""Letter of a fork -> its name for people."""

_LETTERS = re.compile(r"(?P<letters>(?:[SJXEGPD]|J16|J15)(?:, (?:[SJXEGPD]|J16|J15))*)(?:\. |$)")

_BVLC_TYPES = """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data
    Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output
    HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData
    MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid
    SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
"""
_WITHOUT_RECURRENT = "Clip Swish Parameter RNN LSTM LSTMUnit"
_LACKING = {
    "S": "Clip Swish",
    "J": "Clip Swish Parameter",
    "J16": _WITHOUT_RECURRENT,
    "J15": _WITHOUT_RECURRENT,
    "X": _WITHOUT_RECURRENT,
    "E": "Clip Swish",
    "G": "BatchNorm BatchReindex Bias Clip Crop ELU Embed Input LSTM LSTMUnit Parameter RNN Scale Swish Tile",
    "P": "Crop Input " + _WITHOUT_RECURRENT,
    "D": "Crop Input " + _WITHOUT_RECURRENT,
}
_DETECTION = (
    "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox SmoothL1Loss VideoData "
)
_DEEPLAB = """
    AdaptiveBiasChannel BiasChannel DenseCRF DomainTransform DomainTransformForwardOnly ImageSegData Interp
    MatRead MatWrite SegAccuracy SpatialProduct UniqueLabel
"""
_ADDED = {
    "S": _DETECTION,
    "J": _DETECTION + "Axpy DetectNetTransformation ImageLabelData L1Loss SegmentationAccuracy",
    "J16": _DETECTION + "DetectNetTransformation ImageLabelData ImageLabelListData L1Loss",
    "J15": """
        DetectNetTransformation IOUAccuracy ImageLabelData ImageLabelListData ImageLabelTransformation L1Loss
        SoftmaxWithWeightedLoss
    """,
    "X": _DETECTION
    + """
        AlignmentAccuracy BatchNormFixed CenterLoss ConvolutionBNFixed ConvolutionFixed DeconvolutionFixed
        DeephiResize DenseboxMapEvaluation DetectNetTransformation DetectionEvaluateRefine DetectionOutputRefine
        DirectRegressionNnnData DriveData DrivingData DrivingData2 EnhancedImageData FixedNeuron GSTiling
        ImageSegData InnerProductFixed L1Loss MultiBoxLossRefine NormalizeFixed OperateSeg PAFData PReLUFixed
        Proposal ROIPooling ReLU6 Recall Reorg ReshapeLabel ScaleFixed SegmentPixelIOU Tiling YoloEvalDetection
    """,
    "E": "BN DenseImageData Upsample",
    "G": "BN DenseImageData Upsample",
    "P": "BN " + _DEEPLAB,
    "D": _DEEPLAB,
}


class FieldNote(NamedTuple):
    """What the schema's comments say about a field or message."""

    forks: tuple[str, ...]
    """Letters of the forks that define it; ``("B",)`` for what BVLC has, and most forks with it."""
    text: str
    """The rest of the comment, possibly empty."""


@cache
def layer_types() -> dict[str, tuple[str, ...]]:
    """Every layer type that some Caffe registers -> letters of the forks that do, in the order of ``FORKS``."""
    registered = {letter: set(_BVLC_TYPES.split()) for letter in FORKS}
    for letter in registered.keys() - {"B"}:
        registered[letter] -= set(_LACKING[letter].split())
        registered[letter] |= set(_ADDED[letter].split())
    return {
        name: tuple(letter for letter in FORKS if name in registered[letter])
        for name in sorted(set().union(*registered.values()))
    }


def layer_forks(layer_type: str) -> tuple[str, ...]:
    """Letters of the forks that register a layer type, ``()`` where no Caffe known here does."""
    return layer_types().get(layer_type, ())


def field_note(message: str, field: str) -> FieldNote:
    """Who defines a field, by the message's name within package ``caffe`` and the field's.

    >>> field_note("LayerParameter", "interp_param").forks
    ('P', 'D')

    Raises:
        KeyError: the schema has no such field.
    """
    return _notes()[f"{message}.{field}"]


def message_note(message: str) -> FieldNote:
    """Who defines a message, by its name within package ``caffe``.

    Raises:
        KeyError: the schema has no such message.
    """
    return _notes()[message]


def spell(letters: Iterable[str]) -> str:
    """Letters as people read them.

    >>> spell(("P", "D"))
    'PSPNet Caffe and DeepLab Caffe'
    """
    names = [FORKS[letter] for letter in letters]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@cache
def _notes() -> dict[str, FieldNote]:
    """The notes of all messages and fields by dotted name."""
    file = pool.read_descriptor()
    comments = {tuple(location.path): _comment(location) for location in file.source_code_info.location}
    notes: dict[str, FieldNote] = {}
    for index, message in enumerate(file.message_type):
        _collect(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index), "", comments, notes)
    return notes


def _comment(location: SourceCodeInfo.Location) -> str:
    return " ".join((location.leading_comments or location.trailing_comments).split())


def _collect(
    message: DescriptorProto,
    path: tuple[int, ...],
    prefix: str,
    comments: dict[tuple[int, ...], str],
    notes: dict[str, FieldNote],
) -> None:
    """Add the notes of one message, its fields and the messages nested in it.

    A field without letters belongs to the forks of its message, a message without letters to BVLC.
    """
    name = prefix + message.name
    notes[name] = own = _note(comments.get(path, ""), ("B",))
    for index, field in enumerate(message.field):
        notes[f"{name}.{field.name}"] = _note(
            comments.get((*path, DescriptorProto.FIELD_FIELD_NUMBER, index), ""), own.forks
        )
    for index, nested in enumerate(message.nested_type):
        _collect(nested, (*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index), f"{name}.", comments, notes)


def _note(comment: str, default: tuple[str, ...]) -> FieldNote:
    found = _LETTERS.match(comment)
    if found is None:
        return FieldNote(default, comment)
    return FieldNote(tuple(found["letters"].split(", ")), comment[found.end() :])
