"""Which layer types read a layer's block (``pooling_param``): a block in a layer of another type changes nothing.

Caffe says nothing about ``layer { type: "ReLU" pooling_param { ... } }``, a slip of copying. Only types that are named
here are judged: a user's own layer may read any block. Blocks that some layers obey and report themselves where they
do not (``transform_param``), and those that no layer obeys (``without_effect``), are left out.
"""

from __future__ import annotations

__all__ = ["BLOCK_READERS", "KNOWN_TYPES"]

_CONVOLUTIONS = (
    "Convolution Deconvolution Im2col DepthwiseConvolution ConvolutionDepthwise Convolution3D Deconvolution3D"
)
_FIXED = "ConvolutionFixed DeconvolutionFixed"

_READERS = {
    "accum_param": "Accum",
    "accuracy_param": "Accuracy IOUAccuracy SegmentationAccuracy",
    "annotated_data_param": "AnnotatedData",
    "argmax_param": "ArgMax",
    "augmentation_param": "DataAugmentation",
    "batch_norm_param": "BatchNorm",
    "bias_param": "Bias",
    "bn_param": "BN",
    "box_annotator_ohem_param": "BoxAnnotatorOHEM",
    "center_loss_param": "CenterLoss",
    "clip_param": "Clip",
    "concat_param": "Concat",
    "continuation_indicator_param": "ContinuationIndicator",
    "contrastive_loss_param": "ContrastiveLoss",
    "convolution_param": f"{_CONVOLUTIONS} {_FIXED}",
    "correlation_param": "Correlation Correlation1D",
    "crop_param": "Crop AutoCrop",
    "ctc_loss_param": "CtcLoss",
    "data_param": "Data AnnotatedData VideoData",
    "deephi_resize_param": "DeephiResize",
    "dense_image_data_param": "DenseImageData",
    "detection_evaluate_param": "DetectionEvaluate",
    "detection_output_param": "DetectionOutput",
    "downsample_param": "Downsample",
    "drop_path_param": "DropPath",
    "dropout_param": "Dropout",
    "dummy_data_param": "DummyData",
    "eltwise_param": "Eltwise",
    "elu_param": "ELU",
    "embed_param": "Embed",
    "exp_param": "Exp",
    "fixed_param": f"FixedNeuron {_FIXED} InnerProductFixed NormalizeFixed PReLUFixed ScaleFixed",
    "flatten_param": "Flatten",
    "flip_param": "Flip",
    "flow_warp_param": "FlowWarp",
    "focal_loss_param": "FocalLoss SoftmaxFocalLoss SigmoidFocalLoss",
    "gs_tiling_param": "GSTiling",
    "hardsigmoid_param": "HardSigmoid",
    "hardsigmoid_parm": "HardSigmoid",
    "hdf5_data_param": "HDF5Data",
    "hdf5_output_param": "HDF5Output",
    "hinge_loss_param": "HingeLoss",
    "image_data_param": "ImageData ImageSegData ImageLabelmapData",
    "image_label_data_param": "ImageLabelData ImageLabelListData",
    "infogain_loss_param": "InfogainLoss",
    "inner_product_param": "InnerProduct InnerProductFixed",
    "input_param": "Input",
    "interp_param": "Interp",
    "l1_loss_param": "L1Loss",
    "labelsequence_accuracy_param": "LabelsequenceAccuracy",
    "log_param": "Log",
    "loss_param": "SoftmaxWithLoss SigmoidCrossEntropyLoss EuclideanLoss CenterLoss ContrastiveLoss CtcLoss FocalLoss "
    "SoftmaxFocalLoss SigmoidFocalLoss HingeLoss InfogainLoss L1Loss MultiBoxLoss MultinomialLogisticLoss SmoothL1Loss "
    "SmoothL1LossOHEM SoftmaxWithLossOHEM",
    "lrn_param": "LRN",
    "margin_inner_product_param": "MarginInnerProduct",
    "mat_write_param": "MatWrite",
    "memory_data_param": "MemoryData",
    "mixup_param": "Mixup",
    "multibox_loss_param": "MultiBoxLoss",
    "mvn_param": "MVN",
    "norm_param": "Normalize NormalizeFixed",
    "parameter_param": "Parameter",
    "permute_param": "Permute Transpose",
    "pooling_param": "Pooling Pooling3D",
    "power_param": "Power",
    "prelu_param": "PReLU PReLUFixed",
    "prior_box_param": "PriorBox",
    "proposal_param": "Proposal",
    "psroi_pooling_param": "PSROIPooling",
    "python_param": "Python",
    "recurrent_param": "LSTM RNN",
    "reduction_param": "Reduction",
    "relu_param": "ReLU ReLU6",
    "reorg_param": "Reorg",
    "resample_param": "Resample",
    "reshape_param": "Reshape",
    "reverse_param": "Reverse",
    "roi_pooling_param": "ROIPooling",
    "scale_param": "Scale ScaleFixed",
    "seg_accuracy_param": "SegAccuracy",
    "shuffle_channel_param": "ShuffleChannel",
    "slice_param": "Slice",
    "smooth_l1_loss_param": "SmoothL1Loss SmoothL1LossOHEM",
    "softmax_param": "Softmax SoftmaxWithLoss SoftmaxWithLossOHEM FocalLoss SoftmaxFocalLoss",
    "spp_param": "SPP",
    "swish_param": "Swish SiLU",
    "threshold_param": "Threshold",
    "tile_param": "Tile",
    "tiling_param": "Tiling",
    "transpose_param": "Transpose",
    "upsample_param": "Upsample",
    "video_data_param": "VideoData",
    "window_data_param": "WindowData",
    "yolo_detection_output_param": "YoloDetectionOutput",
    "yolov3_detection_output_param": "Yolov3DetectionOutput",
}
_WITHOUT_BLOCK = (
    "AbsVal Axpy BNLL BatchReindex ChannelNorm Filter GELU HSwish HardSwish LSTMUnit Mish SegmentPixelIOU Sigmoid "
    + "Silence Split TanH"
)

BLOCK_READERS: dict[str, tuple[str, ...]] = {block: tuple(types.split()) for block, types in _READERS.items()}
"""A layer's block -> the types that read it, the plainest first."""

KNOWN_TYPES = frozenset(_WITHOUT_BLOCK.split()).union(*BLOCK_READERS.values())
"""Types whose blocks are all known."""
