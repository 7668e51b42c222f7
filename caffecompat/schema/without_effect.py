"""Settings of the schema that no code reads: those that change nothing by right, and those to warn about.

Every field that a net or a solver can hold is read by some code, or listed here: in `HARMLESS` with the reason why
nothing is lost, in `OF_MISSING_TYPES` where it belongs to a layer type that is refused anyway, or in `WITHOUT_EFFECT`.
Setting one of the last to another value than its default brings one warning with its place and the forks that have it.
A block that is listed is so with all its fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from caffecompat.schema.block_readers import BLOCK_READERS, KNOWN_TYPES
from caffecompat.schema.data_layers import Labels, data_layer, is_input
from caffecompat.schema.legacy_types import V1_TYPES
from caffecompat.wording import few

__all__ = ["HARMLESS", "OF_MISSING_TYPES", "WITHOUT_EFFECT", "NoEffect"]

Reason = TypeVar("Reason")


@dataclass(frozen=True)
class NoEffect:
    """Why a field changes nothing here.

    Attributes:
        advice: the end of the warning, what to do instead; may be empty.
        obeyed: whether a layer (its message, of any age) does obey the field; None: no layer does.
    """

    advice: str = ""
    obeyed: Callable[[Any], bool] | None = None


def _fields(message: str, names: str) -> Iterator[str]:
    return (f"{message}.{name}" for name in names.split())


def _of_old_layers(listed: Mapping[str, Reason]) -> dict[str, Reason]:
    """The same of V1 layers, which may have today's blocks, as forks of their time had."""
    return {
        f"V1{name}": reason
        for name, reason in listed.items()
        if name.startswith("LayerParameter.") and name.endswith("_param")
    }


def _type(layer: Any) -> str:
    """A layer's type in today's words, also of a V1 layer."""
    return layer.type if isinstance(layer.type, str) else V1_TYPES.get(layer.type, "")


def _is_old(layer: Any) -> bool:
    """Whether a layer is of V0 or V1, whose data layers hold what transform_param holds today."""
    return bool(layer.DESCRIPTOR.name != "LayerParameter")


def _is_annotated(layer: Any) -> bool:
    return _type(layer) == "AnnotatedData"


def _is_augmented(layer: Any) -> bool:
    """Whether a layer reads pictures and leaves their sizes to transform_param; WindowData warps its windows itself."""
    kind = data_layer(_type(layer))
    return kind is not None and kind.prepares and kind.crops


def _is_prepared(layer: Any) -> bool:
    """Whether a layer's transform_param says what becomes of pictures; an Input states it for exports and 'eval'."""
    return _is_augmented(layer) or is_input(layer)


def _has_label_pictures(layer: Any) -> bool:
    kind = data_layer(_type(layer))
    return kind is not None and kind.labels is Labels.PICTURES


def _is_resized(layer: Any) -> bool:
    """Whether pictures are resized by something that interp_mode is for."""
    transform, kind = layer.transform_param, data_layer(_type(layer))
    if is_input(layer):
        return bool(transform.short_side)
    if kind is None or not _is_augmented(layer):
        return False
    fields = ("random_resized_crop_param", "scale_min", "short_side")
    new_size = getattr(getattr(layer, kind.settings), "new_height", 0)
    return bool(new_size or len(transform.scale_factors) or any(map(transform.HasField, fields)))


def _is_horizontal(layer: Any) -> bool:
    return _type(layer) == "Correlation1D"


def _takes_mean(layer: Any) -> bool:
    """Whether a DataAugmentation layer subtracts the mean of its text."""
    return not layer.augmentation_param.mean_per_pixel and not layer.augmentation_param.recompute_mean


def _misplaced(types: tuple[str, ...]) -> NoEffect:
    """Of a layer's block, or a field of one, that layers of these types read."""

    def obeyed(layer: Any) -> bool:
        return _type(layer) in types or _type(layer) not in KNOWN_TYPES

    return NoEffect(f"only layers of type {few(types)} read it", obeyed)


_ALGORITHM = "a choice of algorithm; the results are the same"
_EXACT = "the computation is at least as exact"
_AS_FORWARD = "gradients are computed in the type of the forward pass, and added up in float32"
_SPEED = "a matter of speed alone"
_LOG = "only adds lines to the log"
_ELSEWHERE = "read from weight files, not from a prototxt"
_RANDOM = "of random augmentation, which is refused; it means nothing in a test"

HARMLESS: dict[str, str] = {
    "NetParameter.copyright": "a text for people",
    **dict.fromkeys(_fields("LayerParameter", "mish_param hardswish_parm"), "holds no more than a choice of engine"),
    **dict.fromkeys(_fields("V1LayerParameter", "mish_param hardswish_parm"), "holds no more than a choice of engine"),
    "YoloDetectionOutputParameter.side": "the original takes the size of the map, too",
    "NetParameter.default_backward_type": _AS_FORWARD,
    "LayerParameter.backward_type": _AS_FORWARD,
    **dict.fromkeys(_fields("NetParameter", "default_forward_math default_backward_math"), _EXACT),
    **dict.fromkeys(_fields("LayerParameter", "forward_math backward_math"), _EXACT),
    "SolverParameter.solver_data_type": _EXACT,
    **dict.fromkeys(
        _fields("NetParameter", "default_conv_algos_override default_cudnn_math_override reduce_buckets"), _ALGORITHM
    ),
    "LayerParameter.cudnn_math_override": _ALGORITHM,
    **dict.fromkeys(_fields("SolverParameter", "layer_wise_reduce per_parameter_reduce"), _SPEED),
    **dict.fromkeys(
        _fields("ConvolutionParameter", "engine force_nd_im2col cudnn_convolution_algo_seeker conv_algos_override"),
        _ALGORITHM,
    ),
    "ConvolutionParameter.conv_algorithm": _ALGORITHM,
    **dict.fromkeys(("NetParameter.engine", "SolverParameter.engine", "LayerParameter.engine"), _ALGORITHM),
    "LayerParameter.split_param": _ALGORITHM,
    "LayerParameter.sigmoid_param": _ALGORITHM,
    "LayerParameter.tanh_param": _ALGORITHM,
    **{
        f"{message}Parameter.engine": _ALGORITHM
        for message in (
            "BN",
            "BatchNorm",
            "Concat",
            "Dropout",
            "Eltwise",
            "HardSigmoid",
            "InnerProduct",
            "LRN",
            "Pooling",
            "ReLU",
            "SPP",
            "Sigmoid",
            "Softmax",
            "TanH",
        )
    },
    "EltwiseParameter.stable_prod_grad": _ALGORITHM,
    "PoolingParameter.torch_pooling": "read by no code of its own fork",
    "AccuracyParameter.history_size": "its own fork clears the history before each batch",
    **dict.fromkeys(_fields("DataParameter", "multi_gpu_testing parser_threads"), _SPEED),
    **dict.fromkeys(_fields("ImageDataParameter", "threads cache"), _SPEED),
    **dict.fromkeys(_fields("TransformationParameter", "forward_packing use_gpu_transform"), _SPEED),
    "DeephiResizeParameter.use_dpu": "read by no code of its own fork",
    "PythonParameter.share_in_parallel": "each process has the layer to itself",
    "LayerParameter.reshape_every_iter": _SPEED,
    "LayerParameter.coeff_schedule_param": _RANDOM,
    **dict.fromkeys(_fields("AugmentationParameter", "max_multiplier chromatic_eigvec"), _RANDOM),
    **dict.fromkeys(
        _fields("RandomGeneratorParameter", "rand_type exp mean spread prob apply_schedule discretize multiplier"),
        _RANDOM,
    ),
    **dict.fromkeys(
        _fields("L1LossParameter", "l2_per_location l2_prescale_by_channels normalize_by_num_entries epsilon plateau"),
        "a layer that has them is refused",
    ),
    "NetQuantizationParameter.display_quantization": _LOG,
    "LayerParameter.debug": _LOG,
    "RecurrentParameter.debug_info": _LOG,
    "AnnotatedDataParameter.anno_type": "boxes are the only kind of annotation",
    "LayerParameter.blobs": _ELSEWHERE,
    "V1LayerParameter.blobs": _ELSEWHERE,
    "V0LayerParameter.blobs": _ELSEWHERE,
}
"""Message and field -> why nothing is lost where no code reads it."""

OF_MISSING_TYPES: dict[str, str] = {
    "LayerParameter.mat_read_param": "MatRead",
    "LayerParameter.dense_crf_param": "DenseCRF",
    "LayerParameter.domain_transform_param": "DomainTransform",
    "LayerParameter.adaptive_bias_channel_param": "AdaptiveBiasChannel",
    "LayerParameter.bias_channel_param": "BiasChannel",
    "LayerParameter.unique_label_param": "UniqueLabel",
    "LayerParameter.yolo_eval_detection_param": "YoloEvalDetection",
    "LayerParameter.drive_data_param": "DriveData",
    "LayerParameter.densebox_map_evaluation_param": "DenseboxMapEvaluation",
    "LayerParameter.reshape_label_param": "ReshapeLabel",
    "LayerParameter.alignment_accuracy_param": "AlignmentAccuracy",
    "LayerParameter.pe_transform_param": "PAFData",
    "LayerParameter.detectnet_groundtruth_param": "DetectNetTransformation",
    "LayerParameter.detectnet_augmentation_param": "DetectNetTransformation",
    "LayerParameter.image_label_transform_param": "ImageLabelTransformation",
    "LayerParameter.writer_param": "FLOWriter",
    "LayerParameter.reader_param": "FloatReader",
    "LayerParameter.mean_param": "Mean",
    "LayerParameter.lpq_loss_param": "LpqLoss",
}
"""A layer's block -> the type that reads it, which no net can be made with."""

_FOCAL = ("FocalLoss", "SoftmaxFocalLoss")
_WITH_IGNORED_LABEL = (
    "SoftmaxWithLoss", "SoftmaxWithLossOHEM", *_FOCAL, "SigmoidFocalLoss", "SigmoidCrossEntropyLoss", "InfogainLoss",
)  # fmt: skip
_QUANTIZED = "the net computes in floating point; 'quantize: true' in the net is what quantizes it"
_OTHER_QUANTIZATION = "fixed point is caffe-jacinto 0.17's, which does not have it"
_OLD_TRANSFORM = NoEffect("transform_param has it", _is_old)

WITHOUT_EFFECT: dict[str, NoEffect] = {
    **dict.fromkeys(
        _fields("NetQuantizationParameter", "insert_quantization_param power2_range"), NoEffect(_OTHER_QUANTIZATION)
    ),
    **dict.fromkeys(
        _fields(
            "QuantizationParameter",
            "mant_bits exp_bits exp_min exp_max unsigned_layer_in unsigned_layer_out min_layer_in min_layer_out "
            "max_layer_in max_layer_out min_layer_weights max_layer_weights quantize_layer_in quantize_layer_out "
            "quantize_layer_weights power2_range bw_layer_in bw_layer_out bw_weights fl_layer_in fl_layer_out "
            "fl_weights bw_params fl_params scale_in scale_out scale_params is_negative_input",
        ),
        NoEffect(_OTHER_QUANTIZATION),
    ),
    "QuantizationParameter.QParams.scale": NoEffect(_OTHER_QUANTIZATION),
    **{f"LayerParameter.{block}": _misplaced(types) for block, types in BLOCK_READERS.items()},
    **dict.fromkeys(_fields("LayerParameter", "snapshot_log_weights snapshot_log_in snapshot_log_out"), NoEffect()),
    **dict.fromkeys(
        _fields(
            "SolverParameter",
            "insert_quantization_param quantization_start_iter unsigned_check_in unsigned_check_out quantize_weights "
            "quantize_activations quantization_param display_quantization",
        ),
        NoEffect(_QUANTIZED),
    ),
    "SolverParameter.snapshot_log": NoEffect(),
    "SolverParameter.sparsity_itr_increment_bfr_applying": NoEffect("the step is counted first, as with true"),
    "SolverParameter.ignore_mismatching_blobs": NoEffect("ignore_shape_mismatch or --skip-mismatched does it"),
    "ParamSpec.compression": NoEffect("weights at zero are trained like others"),
    "LossParameter.ignore_label": _misplaced(_WITH_IGNORED_LABEL),
    **dict.fromkeys(
        _fields("LossParameter", "normalize normalization pre_fixed_normalizer"),
        _misplaced((*_WITH_IGNORED_LABEL, "SmoothL1Loss", "SmoothL1LossOHEM", "MultiBoxLoss")),
    ),
    "LossParameter.label_smoothing": _misplaced(("SoftmaxWithLoss", "SoftmaxWithLossOHEM", *_FOCAL)),
    **dict.fromkeys(
        _fields("LossParameter", "label_weights weight_by_label_freqs class_weighting"),
        _misplaced(("SoftmaxWithLoss", "SoftmaxWithLossOHEM", *_FOCAL, "SigmoidFocalLoss")),
    ),
    **dict.fromkeys(
        _fields("LossParameter", "assign_label_weights num_label_weights"),
        NoEffect("only SoftmaxWithWeightedLoss and SoftmaxWithLossIOUWeights have it; label_weights gives weights"),
    ),
    **dict.fromkeys(
        _fields("LossParameter", "bootstrap_samples_fraction bootstrap_prob_threshold"),
        NoEffect("only SoftmaxWithWeightedLoss and SoftmaxWithLossIOUWeights have it; every label counts"),
    ),
    **dict.fromkeys(
        _fields(
            "TransformationParameter",
            "distort_param rand_augment_param random_erase_param expand_param scale_factors scale_min scale_max "
            "random_resized_crop_param random_resize_param random_aspect_ratio_param",
        ),
        NoEffect("only layers that read whole pictures use it", _is_augmented),
    ),
    "TransformationParameter.emit_constraint": NoEffect("only AnnotatedData uses it", _is_annotated),
    **dict.fromkeys(
        _fields("TransformationParameter", "std_value short_side"),
        NoEffect("only layers that read whole pictures use it", _is_prepared),
    ),
    "TransformationParameter.interp_mode": NoEffect("nothing in transform_param or the layer resizes", _is_resized),
    "TransformationParameter.ignore_label": NoEffect("the layer has no label pictures", _has_label_pictures),
    **dict.fromkeys(
        _fields(
            "TransformationParameter",
            "vertical_stretch_lower vertical_stretch_upper horizontal_stretch_lower horizontal_stretch_upper "
            "rand_resize_ratio_lower rand_resize_ratio_upper use_letterbox_resize num_labels var_sz_img_enabled",
        ),
        NoEffect(),
    ),
    **dict.fromkeys(
        ("ResizeParameter.prob", "NoiseParameter.prob"),
        NoEffect("the original does not use it: all pictures are changed"),
    ),
    "TransformationParameter.flow": NoEffect("mirrored pictures keep their values"),
    "TransformationParameter.display": NoEffect("'caffecompat lmdb show' shows pictures"),
    "DropoutParameter.random_seed": NoEffect("random_seed of the solver does it"),
    "DataParameter.force_encoded_color": NoEffect("use transform_param { force_color: true }"),
    "DataParameter.shuffle_skip_max": NoEffect(),
    **dict.fromkeys(_fields("DataParameter", "scale mean_file crop_size mirror"), _OLD_TRANSFORM),
    **dict.fromkeys(_fields("ImageDataParameter", "scale mean_file crop_size mirror"), _OLD_TRANSFORM),
    "ImageDataParameter.label_num": NoEffect("each line has one label"),
    "DenseImageDataParameter.mean_file": NoEffect("transform_param has it"),
    **dict.fromkeys(_fields("ImageLabelDataParameter", "image_dir2 image_list_path2"), NoEffect("one list is read")),
    **dict.fromkeys(
        _fields(
            "AnnotatedDataParameter",
            "tiling_width tiling_height label_resolution catalog_resolution shrink_prob_factor",
        ),
        NoEffect("labels of lanes are not read"),
    ),
    "MultiBoxLossParameter.objectness_score": NoEffect("only MultiBoxLossRefine has it"),
    "DetectionOutputParameter.objectness_score": NoEffect("only DetectionOutputRefine has it"),
    **dict.fromkeys(
        _fields("DetectionOutputParameter", "visualize_threshold save_file"),
        NoEffect("'caffecompat detect' draws boxes"),
    ),
    "SegAccuracyParameter.metric": NoEffect("all three metrics are given"),
    "CorrelationParameter.do_abs": NoEffect("the original reads it and does not use it"),
    "CorrelationParameter.single_direction": NoEffect("only Correlation1D uses it", _is_horizontal),
    **dict.fromkeys(_fields("AugmentationParameter", "write_augmented write_mean"), NoEffect("nothing is written")),
    **dict.fromkeys(
        _fields("AugmentationParameter", "mode bottomwidth bottomheight num"),
        NoEffect("only GenerateAugmentationParameters has it"),
    ),
    "AugmentationParameter.mean": NoEffect("it takes mean_per_pixel: false and no recompute_mean", _takes_mean),
    **dict.fromkeys(
        _fields("ConvolutionParameter", "kernel_depth temporal_stride temporal_pad filter_group"),
        _misplaced(("Convolution3D", "Deconvolution3D")),
    ),
    **dict.fromkeys(
        _fields("ConvolutionParameter", "num_output bias_term group weight_filler bias_filler"),
        NoEffect("Im2col has no weights", lambda layer: _type(layer) != "Im2col"),
    ),
    **dict.fromkeys(_fields("PoolingParameter", "kernel_depth temporal_stride"), _misplaced(("Pooling3D",))),
    **dict.fromkeys(
        _fields(
            "PoolingParameter",
            "kernel_h kernel_w stride_h stride_w pad_h pad_w global_pooling round_mode ceil_mode avg_include_pad",
        ),
        NoEffect("Pooling3D does not have it", lambda layer: _type(layer) != "Pooling3D"),
    ),
    "FixedParameter.moving_average_fraction": NoEffect("positions come from the weight file"),
    "FixedParameter.fix_info": NoEffect("positions come from the weight file"),
    **dict.fromkeys(_fields("V0LayerParameter", "new_num new_channels"), NoEffect()),
    "V1LayerParameter.strict_dim": NoEffect("--skip-mismatched leaves out what has another shape"),
}
"""Message and field -> what to say where it is set."""

HARMLESS.update(_of_old_layers(HARMLESS))
OF_MISSING_TYPES.update(_of_old_layers(OF_MISSING_TYPES))
WITHOUT_EFFECT.update(_of_old_layers(WITHOUT_EFFECT))
