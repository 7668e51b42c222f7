"""Which fork a text shows."""

from __future__ import annotations

import pytest

from caffecompat.forks import Fork
from caffecompat.schema import NetDocument, detect_fork, open_net, parse_text, pb


@pytest.mark.parametrize(
    ("text", "fork"),
    [
        ('layer { type: "ReLU" }', Fork.BVLC),
        ("layer { multibox_loss_param { } }", Fork.SSD),
        ("layer { annotated_data_param { } } layer { batch_norm_param { scale_bias: true } }", Fork.NVCAFFE),
        ("layer { image_label_data_param { } } layer { batch_norm_param { scale_bias: true } }", Fork.JACINTO),
        ("layer { forward_type: FLOAT16 }", Fork.NVCAFFE),
        ("default_forward_type: FLOAT16", Fork.NVCAFFE),
        ("global_grad_scale: 100", Fork.NVCAFFE),
        ("layer { image_label_data_param { } }", Fork.JACINTO),
        ("net_quantization_param { }", Fork.JACINTO),
        ("quantize: true layer { batch_norm_param { scale_bias: true } }", Fork.JACINTO),
        ("layer { fixed_param { } }", Fork.XILINX),
        ('layer { type: "SegmentPixelIOU" }', Fork.XILINX),
        ('layer { type: "BatchNorm" batch_norm_param { scale_filler { } } param: [{}, {}, {}, {}, {}] }', Fork.XILINX),
        ('layer { type: "BatchNorm" batch_norm_param { scale_filler { } } }', Fork.BVLC),
        ("layer { bn_param { bn_mode: INFERENCE } }", Fork.ENET),
        ("layer { upsample_param { scale: 2 } }", Fork.ENET),
        ('layer { type: "Upsample" bottom: ["a", "mask"] upsample_param { scale: 2 } }', Fork.ENET),
        ('layer { type: "Upsample" bottom: "a" upsample_param { scale: 2 } }', Fork.BVLC),
        ("layer { dense_image_data_param { } }", Fork.ENET),
        ("layer { bn_param { slope_filler { } } }", Fork.PSPNET),
        ("layer { interp_param { } }", Fork.PSPNET),
        ("layer { seg_accuracy_param { } }", Fork.DEEPLAB),
        ("layer { prior_box_param { } }", Fork.SSD),
        ('layer { type: "ImageLabelmapData" }', Fork.HED),
        ('layer { type: "AutoCrop" }', Fork.RCF),
        ('layer { type: "ImageLabelmapData" } layer { type: "Crop" }', Fork.HED),
        ('layer { type: "ImageLabelmapData" } layer { type: "AutoCrop" }', Fork.RCF),
        ("layers { type: IMAGE_LABELMAP_DATA }", Fork.HED),
        ("layers { type: CROP }", Fork.BVLC),
        ('layers { type: IMAGE_SEG_DATA top: ["a", "b", "c"] }', Fork.PSPNET),
        ("layers { fixed_param { } }", Fork.XILINX),
        ('layer { type: "ImageSegData" top: ["a", "b", "c"] }', Fork.PSPNET),
        ('layer { type: "ImageSegData" top: ["a", "b"] }', Fork.BVLC),
    ],
)
def test_forks(text, fork):
    net = parse_text(text, pb.NetParameter())
    assert detect_fork(net) is fork
    assert NetDocument.from_message(net).fork is fork


@pytest.mark.parametrize(
    ("text", "fork"),
    [
        ("larc: true", Fork.NVCAFFE),
        ("rampup_interval: 10 min_lr: 1e-5", Fork.NVCAFFE),
        ("sparse_mode: SPARSE_UPDATE rampup_lr: 0.1", Fork.JACINTO),
        ("base_lr: 1", Fork.BVLC),
        ("warmup_iter: 5", Fork.INTEL),
        ("lr_policy: 'cosine' min_lr: 1e-5 warmup_iter: 5 warmup_start_lr: 0.1", Fork.BVLC),
        ("lr_policy: 'cos' min_lr: 1e-5 larc: true", Fork.NVCAFFE),
    ],
)
def test_forks_of_solvers(text, fork):
    assert detect_fork(parse_text(text, pb.SolverParameter())) is fork


def test_forks_of_real_nets(shared):
    for name, fork in [
        ("vitis-tutorial-05-seg/model/espnet/train_val.prototxt", Fork.XILINX),
        ("vitis-tutorial-05-seg/model/enet/deploy.prototxt", Fork.XILINX),
        ("timosaemann-enet/prototxts/enet_deploy.prototxt", Fork.ENET),
        ("jacinto-models/image_segmentation/cityscapes5_jsegnet21v2/sparse/train.prototxt", Fork.JACINTO),
        ("bvlc/examples/mnist/lenet.prototxt", Fork.BVLC),
    ]:
        assert open_net(shared / "real" / name).fork is fork, name
