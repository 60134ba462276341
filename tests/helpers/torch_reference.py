"""What torch computes: primitives and small residual networks in plain torch.nn, the oracle of `test_torch.py`.

    python tests/helpers/torch_reference.py

writes `torch_reference.npz`, a record for each of `CASES`: its NHWC `input`, its weights in the order in which the
torch module lists them, in Keras' layout and under Keras' names (`stage1_block1_a1_conv/kernel`), the output of every
stage (`stage1`, ...) and the last `output`. torch computes in double precision, from inputs and weights that float16
holds.

The networks are written from the papers and the codebases named beside them, and share nothing with keras_resnet but
its layers' names: a torch module's path with underscores for its dots.
"""

import os
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

relu = nn.functional.relu

PATH = Path(__file__).with_suffix(".npz")
SEED = 2015
CLASSES = 5
VARIABLES = {
    nn.Conv2d: {"weight": "kernel"},
    nn.Linear: {"weight": "kernel", "bias": "bias"},
    nn.BatchNorm2d: {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
}


# Parts


def named(**modules):
    return nn.Sequential(OrderedDict(modules))


def conv(channels, filters, kernel_size, stride=1, dilation=1, groups=1):
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, filters, kernel_size, stride, padding, dilation, groups, bias=False)


def conv_norm(channels, filters, kernel_size, *settings):
    return named(conv=conv(channels, filters, kernel_size, *settings), norm=nn.BatchNorm2d(filters))


def conv_norm_relu(channels, filters, kernel_size, *settings):
    return named(conv=conv(channels, filters, kernel_size, *settings), norm=nn.BatchNorm2d(filters), relu=nn.ReLU())


def norm_relu(channels):
    return named(norm=nn.BatchNorm2d(channels), relu=nn.ReLU())


class SqueezeExcite(nn.Module):
    """Hu et al. 2018: two fully connected layers, both with a bias."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x):
        gate = torch.sigmoid(self.excite(relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


# Shortcuts


class OptionA(nn.Module):
    """akamaster/pytorch_resnet_cifar10: every second pixel, and zero channels, half of them before and half after."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.stride, self.missing = stride, filters - channels

    def forward(self, x):
        half = self.missing // 2
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))


def option_b(channels, filters, stride):
    """torchvision: a convolution and a norm where the shape changes."""
    return nn.Identity() if stride == 1 and channels == filters else conv_norm(channels, filters, 1, stride)


def option_d(channels, filters, stride):
    """timm's `downsample_avg`: the average pool, where it strides, then a convolution and a norm."""
    if stride == 1:
        return option_b(channels, filters, stride)
    pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return named(pool=pool, conv=conv(channels, filters, 1), norm=nn.BatchNorm2d(filters))


# Blocks; `dilations` are those of the 3x3 convolution, or of both in turn


class Basic(nn.Module):
    """He et al. 2015, figure 5, left."""

    def __init__(self, channels, filters, stride, skip, dilations=(1, 1)):
        super().__init__()
        self.a1 = conv_norm(channels, filters, 3, stride, dilations[0])
        self.a2 = conv_norm(filters, filters, 3, 1, dilations[1])
        self.skip = skip(channels, filters, stride)

    def forward(self, x):
        return relu(self.skip(x) + self.a2(relu(self.a1(x))))


class Bottleneck(nn.Module):
    """He et al. 2015, figure 5, right; Xie et al. 2017, figure 3c; the gate of Hu et al. 2018, figure 3."""

    def __init__(self, channels, filters, stride, skip, dilations=(1, 1), *, width, stride_in="3x3", groups=1,
                 reduction=None):  # fmt: skip
        super().__init__()
        inner = int(filters * width)
        first, second, dilation = (stride, 1, dilations[1]) if stride_in == "1x1" else (1, stride, dilations[0])
        self.a1 = conv_norm(channels, inner, 1, first)
        self.a2 = conv_norm(inner, inner, 3, second, dilation, groups)
        self.a3 = conv_norm(inner, filters, 1)
        self.a_se = SqueezeExcite(filters, reduction) if reduction else nn.Identity()
        self.skip = skip(channels, filters, stride)

    def forward(self, x):
        return relu(self.skip(x) + self.a_se(self.a3(relu(self.a2(relu(self.a1(x)))))))


class PreBasic(nn.Module):
    """He et al. 2016, figure 4e: a bare projection of what the branch reads; Zagoruyko's, with dropout in between."""

    def __init__(self, channels, filters, stride, dropout=0.0):
        super().__init__()
        self.a0 = norm_relu(channels)
        self.a1_conv = conv(channels, filters, 3, stride)
        self.a1 = norm_relu(filters)
        self.dropout = nn.Dropout(dropout)
        self.a2_conv = conv(filters, filters, 3)
        self.skip_conv = conv(channels, filters, 1, stride) if stride > 1 or channels != filters else None

    def forward(self, x):
        read = self.a0(x)
        shortcut = self.skip_conv(read) if self.skip_conv else x
        return shortcut + self.a2_conv(self.dropout(self.a1(self.a1_conv(read))))


class PreBottleneck(nn.Module):
    """timm's `PreActBottleneck`."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        inner = filters // 2
        self.a0 = norm_relu(channels)
        self.a1_conv = conv(channels, inner, 1)
        self.a1 = norm_relu(inner)
        self.a2_conv = conv(inner, inner, 3, stride)
        self.a2 = norm_relu(inner)
        self.a3_conv = conv(inner, filters, 1)
        self.skip_conv = conv(channels, filters, 1, stride) if stride > 1 or channels != filters else None

    def forward(self, x):
        read = self.a0(x)
        shortcut = self.skip_conv(read) if self.skip_conv else x
        return shortcut + self.a3_conv(self.a2(self.a2_conv(self.a1(self.a1_conv(read)))))


class Pyramid(nn.Module):
    """dyhan0920/PyramidNet-PyTorch's `BasicBlock`: norm, conv, norm, relu, conv, norm, and appended zero channels."""

    def __init__(self, channels, filters, stride):
        super().__init__()
        self.a0_norm = nn.BatchNorm2d(channels)
        self.a1_conv = conv(channels, filters, 3, stride)
        self.a1 = norm_relu(filters)
        self.a2 = conv_norm(filters, filters, 3)
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True) if stride == 2 else nn.Identity()
        self.missing = filters - channels

    def forward(self, x):
        shortcut = nn.functional.pad(self.pool(x), (0, 0, 0, 0, 0, self.missing))
        return shortcut + self.a2(self.a1(self.a1_conv(self.a0_norm(x))))


# Networks


def stack(block, channels, stages, **settings):
    """stage1_block1=block(...), ...: the first block of every stage but the first strides."""
    blocks = {}
    for stage, widths in enumerate(stages, start=1):
        for index, filters in enumerate(widths, start=1):
            stride = 2 if stage > 1 and index == 1 else 1
            blocks[f"stage{stage}_block{index}"] = block(channels, filters, stride, **settings)
            channels = filters
    return blocks


def output_stride_8(block, channels, stages, **settings):
    """`stack` with strides 1, 2, 1, 1, as torchvision's `replace_stride_with_dilation=(False, True, True)`.

    The first block of a stage whose stride is traded still has the dilation of the stage before, in timm's basic blocks
    up to their second convolution.
    """
    before_and_after = {1: (1, 1), 2: (1, 1), 3: (1, 2), 4: (2, 4)}
    blocks = {}
    for stage, widths in enumerate(stages, start=1):
        before, after = before_and_after[stage]
        for index, filters in enumerate(widths, start=1):
            stride = 2 if stage == 2 and index == 1 else 1
            dilations = (before, after) if index == 1 else (after, after)
            blocks[f"stage{stage}_block{index}"] = block(channels, filters, stride, dilations=dilations, **settings)
            channels = filters
    return blocks


def cifar_stem(filters):
    return {"stem": conv_norm_relu(3, filters, 3)}


def max_pool():
    return {"pool": nn.MaxPool2d(3, 2, 1)}


def imagenet_stem(filters):
    return {"stem": conv_norm_relu(3, filters, 7, 2), **max_pool()}


def deep_stem(filters):
    """He et al. 2019, figure 2b."""
    return {
        "stem1": conv_norm_relu(3, filters // 2, 3, 2),
        "stem2": conv_norm_relu(filters // 2, filters // 2, 3),
        "stem3": conv_norm_relu(filters // 2, filters, 3),
    }


def classifier(channels):
    return {"average": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "predictions": nn.Linear(channels, CLASSES)}


def pre_activation(block, stages, stem, **settings):
    """He et al. 2016: a last norm and relu behind the blocks."""
    channels = stages[-1][-1]
    return named(**stem, **stack(block, 4, stages, **settings), head=norm_relu(channels), **classifier(channels))


def post_activation(block, stages, stem, arrange=stack, **settings):
    """He et al. 2015, table 1 and section 4.2."""
    return named(**stem, **arrange(block, 4, stages, **settings), **classifier(stages[-1][-1]))


def bottlenecks(stem, **settings):
    return post_activation(Bottleneck, BOTTLENECK, stem, **{"skip": option_b, "width": 1 / 4, **settings})


def dilated(block, **settings):
    return post_activation(block, DILATED, imagenet_stem(4), output_stride_8, skip=option_b, **settings)


BASIC = ((4, 4), (6,), (10,))
BOTTLENECK = ((8,), (8, 8), (12,))
GROUPED = ((8,), (16, 16))
DILATED = ((4,), (6,), (8, 8), (10, 10))

CASES = {  # (N, H, W, C) of the input: what maps it to the outputs
    (2, 9, 8, 4): {
        "conv3x3_stride2": lambda: named(unit_conv=conv(4, 6, 3, stride=2)),
        "conv7x7_stride2": lambda: named(unit_conv=conv(4, 3, 7, stride=2)),
        "conv1x1_stride2": lambda: named(unit_conv=conv(4, 6, 1, stride=2)),
        "conv3x3_groups2": lambda: named(unit_conv=conv(4, 6, 3, groups=2)),
        "conv3x3_groups4_stride2": lambda: named(unit_conv=conv(4, 8, 3, stride=2, groups=4)),
        "conv3x3_dilation2": lambda: named(unit_conv=conv(4, 6, 3, dilation=2)),
        "max_pool": lambda: named(relu=nn.ReLU(), pool=nn.MaxPool2d(3, 2, 1)),
        "max_pool_signed": lambda: named(pool=nn.MaxPool2d(3, 2, 1)),
        "average_pool": lambda: named(pool=nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)),
        "option_a": lambda: named(skip=OptionA(4, 7, 2)),
        "squeeze_excite": lambda: named(unit_se=SqueezeExcite(4, 2)),
        "norm": lambda: named(unit_norm=nn.BatchNorm2d(4, eps=1e-5)),
        "norm_training": lambda: named(unit_norm=nn.BatchNorm2d(4, eps=1e-5, momentum=0.1)),
    },
    (1, 9, 8, 3): {
        "basic_a": lambda: post_activation(Basic, BASIC, cifar_stem(4), skip=OptionA),
        "basic_b": lambda: post_activation(Basic, BASIC, cifar_stem(4), skip=option_b),
        "preactivation": lambda: pre_activation(PreBasic, BASIC, {"stem_conv": conv(3, 4, 3)}),
        "wide": lambda: pre_activation(PreBasic, ((8,), (10, 10)), {"stem_conv": conv(3, 4, 3)}, dropout=0.3),
        "pyramid": lambda: pre_activation(Pyramid, ((5, 6), (8, 9)), {"stem": conv_norm(3, 4, 3)}),
        "resnext_cifar": lambda: post_activation(
            Bottleneck, GROUPED, cifar_stem(4), skip=option_b, width=1 / 2, groups=4
        ),
    },
    (1, 27, 24, 3): {
        "bottleneck_3x3": lambda: bottlenecks(imagenet_stem(4)),
        "bottleneck_1x1": lambda: bottlenecks(imagenet_stem(4), stride_in="1x1"),
        "resnext": lambda: bottlenecks(imagenet_stem(4), width=1 / 2, groups=2),
        "squeeze_and_excitation": lambda: bottlenecks(imagenet_stem(4), reduction=4),
        "resnet_d": lambda: bottlenecks({**deep_stem(4), **max_pool()}, skip=option_d),
        "resnet_rs": lambda: bottlenecks(
            {**deep_stem(4), "stem4": conv_norm_relu(4, 4, 3, 2)}, skip=option_d, reduction=4
        ),
        "preactivation_imagenet": lambda: pre_activation(PreBottleneck, BOTTLENECK, imagenet_stem(4)),
        "preactivation_bare": lambda: pre_activation(
            PreBottleneck, BOTTLENECK, {"stem_conv": conv(3, 4, 7, 2), **max_pool()}
        ),
    },
    (1, 49, 44, 3): {
        "dilated_basic": lambda: dilated(Basic),
        "dilated_bottleneck_3x3": lambda: dilated(Bottleneck, width=1 / 2),
        "dilated_bottleneck_1x1": lambda: dilated(Bottleneck, width=1 / 2, stride_in="1x1"),
    },
}


# Records


def variables(network):
    """(Keras' name, torch's tensor), in torch's order."""
    for path, module in network.named_modules():
        for attribute, variable in VARIABLES.get(type(module), {}).items():
            yield f"{path.replace('.', '_')}/{variable}", getattr(module, attribute)


def rounded(values, parts):
    return np.float16(np.round(values * parts) / parts)


def draw(random, name, shape):
    """He et al. 2015's normal kernels; scales and variances around 1, shifts and means around 0."""
    if name.endswith("kernel"):
        return random.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    return random.uniform(0.5, 1.5, shape) if name.endswith(("gamma", "variance")) else random.normal(0, 0.25, shape)


def to_keras(weight):
    """OIHW -> HWIO, and [out, in] -> [in, out]."""
    return weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T if weight.ndim == 2 else weight


def weights_of(network, dtype):
    return {name: to_keras(tensor).detach().numpy().astype(dtype) for name, tensor in variables(network)}


def float32(x):
    """NCHW -> NHWC."""
    return np.float32((x.permute(0, 2, 3, 1) if x.ndim == 4 else x).detach().numpy())


def outputs_of(network, x):
    """The last output of every stage, and the last of all."""
    outputs = {}
    for name, child in network.named_children():
        x = child(x)
        outputs[name.split("_")[0] if name.startswith("stage") else "output"] = float32(x)
    return outputs


@torch.no_grad()
def case(name, shape, build, seed):
    """input, weights, outputs; in training also the norm's state afterwards."""
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    network = build().double().train(name.endswith("training"))
    for variable, tensor in variables(network):
        tensor.copy_(torch.from_numpy(rounded(draw(random, variable, tensor.shape), 32)))
    images = rounded(random.normal(0, 1, shape), 8)
    arrays = {"input": images, **weights_of(network, np.float16)}
    arrays |= outputs_of(network, torch.from_numpy(images).double().permute(0, 3, 1, 2))
    if network.training:
        arrays |= {f"{name.split('/')[1]}_after": array for name, array in weights_of(network, np.float32).items()}
    return record(arrays)


def record(arrays):
    """One structured array: its fields are the arrays, in order."""
    packed = np.zeros((), [(name, array.dtype, array.shape) for name, array in arrays.items()])
    for name, array in arrays.items():
        packed[name] = array
    return packed


def reference(seed=SEED):
    return {name: case(name, shape, build, seed) for shape, cases in CASES.items() for name, build in cases.items()}


def main():
    unfinished = PATH.with_suffix(".unfinished.npz")
    np.savez_compressed(unfinished, **reference())
    os.replace(unfinished, PATH)
    print(f"{PATH}: {PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
