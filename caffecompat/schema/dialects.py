"""Which Caffe forks define each field and each layer type.

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

from caffecompat.forks import Fork
from caffecompat.schema import pool

__all__ = ["FieldNote", "field_note", "fork_names", "is_ours", "layer_forks", "layer_types", "message_note"]

_NAME = "|".join(sorted(Fork.__members__, key=len, reverse=True))
_NAMES = re.compile(rf"(?P<names>(?:{_NAME})(?:, (?:{_NAME}))*)(?:\. |$)")

_BVLC_TYPES = """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop Data
    Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data HDF5Output
    HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN MemoryData
    MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP Scale Sigmoid
    SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold Tile WindowData
"""
_WITHOUT_RECURRENT = "Clip Swish Parameter RNN LSTM LSTMUnit"
_OF_2015 = "BatchNorm BatchReindex Bias Crop ELU Embed Input Scale Tile " + _WITHOUT_RECURRENT
_LACKING = {
    Fork.BVLC: "",
    Fork.SSD: "Clip Swish",
    Fork.NVCAFFE: "Clip Swish Parameter",
    Fork.JACINTO: "Clip Swish Parameter",
    Fork.JACINTO16: _WITHOUT_RECURRENT,
    Fork.JACINTO15: _WITHOUT_RECURRENT,
    Fork.XILINX: _WITHOUT_RECURRENT,
    Fork.ENET: "Clip Swish",
    Fork.SEGNET: "BatchNorm BatchReindex Bias Clip Crop ELU Embed Input LSTM LSTMUnit Parameter RNN Scale Swish Tile",
    Fork.PSPNET: "Crop Input " + _WITHOUT_RECURRENT,
    Fork.DEEPLAB: "Crop Input " + _WITHOUT_RECURRENT,
    Fork.INTEL: "Clip Swish",
    Fork.HED: _OF_2015,
    Fork.RCF: _OF_2015,
    Fork.RCNN: "Clip Swish RNN LSTM LSTMUnit",
    Fork.FACE: "Clip Swish",
    Fork.YOLO: "Clip Swish",
    Fork.FOCAL: "Clip Swish",
    Fork.C3D: _OF_2015 + " Reshape PReLU Filter Reduction SPP Log",
    Fork.CRNN: "Clip Swish",
    Fork.WINDOWS: "Clip Swish",
    Fork.MOBILE: "Clip Swish",
    Fork.FLOWNET2: "Clip Swish",
}
_DETECTION = (
    "AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox SmoothL1Loss VideoData "
)
_DEEPLAB = """
    AdaptiveBiasChannel BiasChannel DenseCRF DomainTransform DomainTransformForwardOnly ImageSegData Interp
    MatRead MatWrite SegAccuracy SpatialProduct UniqueLabel
"""
_NVCAFFE = _DETECTION + "Axpy DetectNetTransformation L1Loss "
_ADDED = {
    Fork.BVLC: "",
    Fork.SSD: _DETECTION,
    Fork.NVCAFFE: _NVCAFFE,
    Fork.JACINTO: _NVCAFFE + "ImageLabelData SegmentationAccuracy",
    Fork.JACINTO16: _DETECTION + "DetectNetTransformation ImageLabelData ImageLabelListData L1Loss",
    Fork.JACINTO15: """
        DetectNetTransformation IOUAccuracy ImageLabelData ImageLabelListData ImageLabelTransformation L1Loss
        SoftmaxWithWeightedLoss
    """,
    Fork.XILINX: _DETECTION
    + """
        AlignmentAccuracy BatchNormFixed CenterLoss ConvolutionBNFixed ConvolutionFixed DeconvolutionFixed
        DeephiResize DenseboxMapEvaluation DetectNetTransformation DetectionEvaluateRefine DetectionOutputRefine
        DirectRegressionNnnData DriveData DrivingData DrivingData2 EnhancedImageData FixedNeuron GSTiling
        ImageSegData InnerProductFixed L1Loss MultiBoxLossRefine NormalizeFixed OperateSeg PAFData PReLUFixed
        Proposal ROIPooling ReLU6 Recall Reorg ReshapeLabel ScaleFixed SegmentPixelIOU Tiling YoloEvalDetection
    """,
    Fork.ENET: "BN DenseImageData Upsample",
    Fork.SEGNET: "BN DenseImageData Upsample",
    Fork.PSPNET: "BN " + _DEEPLAB,
    Fork.DEEPLAB: _DEEPLAB,
    Fork.INTEL: _DETECTION + "BoxAnnotatorOHEM ContinuationIndicator PSROIPooling ROIPooling SpatialDropout",
    Fork.HED: "Crop ImageLabelmapData",
    Fork.RCF: "AutoCrop ImageLabelmapData",
    Fork.RCNN: """
        BoxAnnotatorOHEM PSROIPooling Proposal ROIPooling SmoothL1Loss SmoothL1LossOHEM SoftmaxWithLossOHEM
    """,
    Fork.FACE: "CenterLoss MarginInnerProduct",
    Fork.YOLO: _DETECTION + "Mish Upsample YoloDetectionOutput Yolov3DetectionOutput",
    Fork.FOCAL: "FocalLoss SoftmaxFocalLoss",
    Fork.C3D: "Convolution3D Deconvolution3D Pooling3D VideoData",
    Fork.MOBILE: "ConvolutionDepthwise DepthwiseConvolution HardSigmoid HardSwish ShuffleChannel",
    Fork.CRNN: "ContinuationIndicator CtcLoss LabelsequenceAccuracy Permute Reverse Transpose",
    Fork.WINDOWS: "Flip",
    Fork.FLOWNET2: """
        Accum BlackAugmentation ChannelNorm Correlation Correlation1D CustomData DataAugmentation DisparityData
        Downsample FLOWriter FloatReader FloatWriter FlowAugmentation FlowWarp GenerateAugmentationParameters
        ImgReader ImgWriter L1Loss LpqLoss Mean NegReLU PFMWriter Resample
    """,
}


class FieldNote(NamedTuple):
    """What the schema's comments say about a field or message."""

    forks: tuple[Fork, ...]
    """Who defines it; ``(Fork.BVLC,)`` for what BVLC has, and most forks with it."""
    text: str
    """The rest of the comment, possibly empty."""


@cache
def layer_types() -> dict[str, tuple[Fork, ...]]:
    """Every layer type that some Caffe registers -> the forks that do, in the order of ``Fork``."""
    bvlc = set(_BVLC_TYPES.split())
    registered = {fork: bvlc - set(_LACKING[fork].split()) | set(_ADDED[fork].split()) for fork in Fork}
    return {
        name: tuple(fork for fork in Fork if name in registered[fork])
        for name in sorted(set().union(*registered.values()))
    }


def layer_forks(layer_type: str) -> tuple[Fork, ...]:
    """The forks that register a layer type, ``()`` where no Caffe known here does."""
    return layer_types().get(layer_type, ())


def field_note(message: str, field: str) -> FieldNote:
    """Who defines a field, by the message's name within package ``caffe`` and the field's.

    >>> field_note("LayerParameter", "interp_param").forks == (Fork.PSPNET, Fork.DEEPLAB)
    True

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


def is_ours(message: str, field: str = "") -> bool:
    """Whether no Caffe has a message, or one of its fields, but the schema here does.

    >>> is_ours("MixupParameter"), is_ours("SolverParameter", "ema_decay"), is_ours("SolverParameter", "base_lr")
    (True, True, False)
    """
    names = (message, f"{message}.{field}")
    return any(name in _notes() and _notes()[name].text.startswith("Ours") for name in names)


def fork_names(forks: Iterable[Fork]) -> str:
    """Forks as people read them.

    >>> fork_names((Fork.PSPNET, Fork.DEEPLAB))
    'PSPNet Caffe and DeepLab Caffe'
    """
    names = [fork.value for fork in forks]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@cache
def _notes() -> dict[str, FieldNote]:
    """The notes of all messages and fields by dotted name."""
    file = pool.read_descriptor()
    comments = {tuple(location.path): _comment(location) for location in file.source_code_info.location}
    notes: dict[str, FieldNote] = {}
    for index, message in enumerate(file.message_type):
        _collect(message, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index), "", comments, notes)
        if message.name == "V1LayerParameter":
            added = (field.name for field in message.field if field.number > pool.V1_SETTINGS)
            notes.update({f"V1LayerParameter.{name}": notes[f"LayerParameter.{name}"] for name in added})
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

    A field that names no fork belongs to the forks of its message, a message that names none to BVLC.
    """
    name = prefix + message.name
    notes[name] = own = _note(comments.get(path, ""), (Fork.BVLC,))
    for index, field in enumerate(message.field):
        notes[f"{name}.{field.name}"] = _note(
            comments.get((*path, DescriptorProto.FIELD_FIELD_NUMBER, index), ""), own.forks
        )
    for index, nested in enumerate(message.nested_type):
        _collect(nested, (*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index), f"{name}.", comments, notes)


def _note(comment: str, default: tuple[Fork, ...]) -> FieldNote:
    found = _NAMES.match(comment)
    if found is None:
        return FieldNote(default, comment)
    return FieldNote(tuple(Fork[name] for name in found["names"].split(", ")), comment[found.end() :])
