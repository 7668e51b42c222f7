"""Quantize for the DPU with the commands and flags of Xilinx' vai_q_caffe; the files are equal to its own.

    caffecompat vai_q_caffe quantize -model float.prototxt -weights float.caffemodel -calib_iter 100
    caffecompat vai_q_caffe test -model quantize_train_test.prototxt -weights quantize_train_test.caffemodel
    caffecompat vai_q_caffe finetune -solver solver.prototxt -weights quantize_train_test.caffemodel
    caffecompat vai_q_caffe deploy -model quantize_train_test.prototxt -weights finetuned.caffemodel
    caffecompat vai_q_caffe check -model float.prototxt

``caffecompat vai_q_caffe COMMAND --help`` lists the flags of each. With DECENT_DEBUG of 1 or more in the environment
quantize_info.txt is written, too; NOT_ALIGN_CONCAT gives average poolings before a Concat neurons of their own.
"""

from __future__ import annotations

from caffecompat.cli.common.group import Group

HELP = "quantize, deploy, check, test, finetune: the Xilinx quantizer's commands"

_PARTS = Group(__name__, "quantize", "deploy", "check", "test", "finetune")
add_flags, run = _PARTS.add_flags, _PARTS.run
