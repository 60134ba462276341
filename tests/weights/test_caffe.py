"""Files of Caffe are read as they were written, and all other files refused with our own error."""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import caffe_files as caffe
from keras_resnet.checks import ArgumentError
from keras_resnet.weights import readers
from keras_resnet.weights.layers import Norm

RANDOM = np.random.default_rng(0)
GAMMA, BETA, MEAN, VARIANCE = RANDOM.uniform(0.5, 2, (4, 5)).astype("float32")
KERNEL = RANDOM.normal(size=(3, 3, 2, 5)).astype("float32")
DENSE = RANDOM.normal(size=(5, 4)).astype("float32")
BIAS = RANDOM.normal(size=4).astype("float32")
both_generations = pytest.mark.parametrize("generation", caffe.GENERATIONS)


def read_caffemodel(path):
    """With the values of all layers."""
    pretrained = readers.read_caffemodel(path)
    return replace(pretrained, layers=pretrained.fetch(pretrained.layers))


def norm_layers(top="conv", **factor):
    """A BatchNorm and its Scale: in place where the top is "conv"."""
    return [
        caffe.batch_norm("bn", "conv", top, MEAN, VARIANCE, **factor),
        caffe.scale("scale", top, f"{top}_scaled" if top != "conv" else top, GAMMA, BETA),
    ]


NETWORK = [
    caffe.convolution("conv1", "data", "conv", KERNEL, GAMMA, stride=2, pad=1),
    *norm_layers(),
    caffe.relu("relu", "conv", "conv"),
    caffe.max_pool("pool1", "conv", "pool1", pad=1),
    caffe.inner_product("fc", "pool1", "fc", DENSE, BIAS),
]


@pytest.fixture
def reread(tmp_path):
    """Writes layers, then reads them."""

    def reread(layers, generation="layer", **options):
        caffe.write(tmp_path / "net.caffemodel", layers, generation, **options)
        return read_caffemodel(tmp_path / "net.caffemodel")

    return reread


@pytest.fixture
def read_bytes(tmp_path):
    def read_bytes(content):
        (tmp_path / "net.caffemodel").write_bytes(content)
        return read_caffemodel(tmp_path / "net.caffemodel")

    return read_bytes


def refuses(reason, call, *arguments, **options):
    with pytest.raises(ArgumentError, match="what Caffe wrote") as caught:
        call(*arguments, **options)
    assert reason in str(caught.value)


def same_norm(norm, gamma, beta, mean, variance):
    assert isinstance(norm, Norm)
    for name, expected in {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}.items():
        part = getattr(norm, name)
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, np.broadcast_to(expected, 5))


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def encoded(*fields):
    """Protobuf's bytes of numbered fields, without the description that the reader and the writer share."""
    return b"".join(
        varint(8 * number) + varint(value)
        if isinstance(value, int)
        else varint(8 * number + 2) + varint(len(value)) + value
        for number, value in fields
    )


SHAPE = encoded((7, encoded((1, bytes([1, 1, 1, 2])))))
LEGACY_SHAPE = encoded((1, 1), (2, 1), (3, 1), (4, 2))
VALUES = encoded((5, np.array([3, 4], "<f4").tobytes()))
DOUBLES = encoded((8, np.array([3, 4], "<f8").tobytes()))
STRIDE, PAD = encoded((6, 2)), encoded((1, 0), (2, 3), (4, 1))
BY_HAND = {
    "layer": encoded(
        (1, b"net"),
        (100, encoded((1, b"conv"), (2, b"Convolution"), (3, b"a"), (4, b"b"), (7, SHAPE + VALUES), (106, STRIDE))),
        (100, encoded((1, b"pool"), (2, b"Pooling"), (3, b"b"), (4, b"c"), (121, PAD))),
    ),
    "layers": encoded(
        (2, encoded((2, b"a"), (3, b"b"), (4, b"conv"), (5, 4), (6, LEGACY_SHAPE + DOUBLES), (10, STRIDE))),
        (2, encoded((2, b"b"), (3, b"c"), (4, b"pool"), (5, 17), (19, PAD))),
    ),
}


@both_generations
def test_a_file_encoded_by_hand_is_read(read_bytes, generation):
    checkpoint = read_bytes(BY_HAND[generation])
    assert checkpoint.pool_pad == 1
    assert checkpoint.layers["conv"].stride == 2
    assert checkpoint.layers["conv"].kernel.tolist() == [[[[3]], [[4]]]]


@both_generations
@pytest.mark.parametrize("double", [False, True])
def test_every_layer_is_read_as_written(reread, generation, double):
    checkpoint = reread(NETWORK, generation, double=double)
    conv, norm, dense = checkpoint.layers.values()
    assert [*checkpoint.layers] == ["conv1", "bn", "fc"]
    assert checkpoint.origin.endswith("net.caffemodel")
    assert checkpoint.ordered
    assert checkpoint.pool_pad == 1
    np.testing.assert_array_equal(conv.kernel, KERNEL)
    np.testing.assert_array_equal(conv.bias, GAMMA)
    same_norm(norm, GAMMA, BETA, MEAN, VARIANCE)
    np.testing.assert_array_equal(dense.kernel, DENSE[None, None])
    np.testing.assert_array_equal(dense.bias, BIAS)
    assert {weight.dtype for weight in (conv.kernel, conv.bias, dense.kernel, dense.bias)} == {np.dtype("float32")}


@both_generations
def test_affine_layers_may_have_no_bias(reread, generation):
    layers = [caffe.convolution("conv", "a", "b", KERNEL), caffe.inner_product("fc", "b", "c", DENSE)]
    conv, dense = reread(layers, generation).layers.values()
    assert conv.bias is None
    assert dense.bias is None


@both_generations
def test_one_output_is_read(reread, generation):
    layers = [
        caffe.convolution("conv", "a", "b", KERNEL[..., :1], BIAS[:1]),
        caffe.inner_product("fc", "b", "c", DENSE[:, :1], BIAS[:1]),
    ]
    conv, dense = reread(layers, generation).layers.values()
    assert conv.kernel.shape == (3, 3, 2, 1)
    assert dense.kernel.shape == (1, 1, 5, 1)
    assert conv.bias.shape == dense.bias.shape == (1,)


@both_generations
@pytest.mark.parametrize(
    ("given", "stride"),
    [({}, 1), ({"stride": [2]}, 2), ({"stride": [2, 2]}, 2), ({"stride_h": 3, "stride_w": 3}, 3)],
)
def test_a_stride_is_read_however_given(reread, generation, given, stride):
    layers = [caffe.Layer("Convolution", "conv", "a", "b", [KERNEL.T], {"convolution_param": given})]
    assert reread(layers, generation).layers["conv"].stride == stride


@both_generations
@pytest.mark.parametrize("given", [{"stride": [1, 2]}, {"stride_h": 1, "stride_w": 2}, {"stride_h": 2}])
def test_a_stride_that_differs_by_side_is_refused(reread, generation, given):
    layers = [caffe.Layer("Convolution", "conv", "a", "b", [KERNEL.T], {"convolution_param": given})]
    refuses("layer 'conv' of type", reread, layers, generation)


def test_a_transposed_inner_product_is_turned(reread):
    layers = [caffe.Layer("InnerProduct", "fc", "a", "b", [DENSE], {"inner_product_param": {"transpose": True}})]
    np.testing.assert_array_equal(reread(layers).layers["fc"].kernel, DENSE[None, None])


@both_generations
@pytest.mark.parametrize("top", ["conv", "other"])
@pytest.mark.parametrize("factor", [1.0, 0.5, 999.5])
def test_statistics_are_the_sums_by_the_factor(reread, generation, top, factor):
    norm = reread(norm_layers(top, scale_factor=factor), generation).layers["bn"]
    same_norm(norm, GAMMA, BETA, MEAN / np.float32(factor), VARIANCE / np.float32(factor))


@both_generations
def test_statistics_of_no_batches_are_zeros(reread, generation):
    same_norm(reread(norm_layers(scale_factor=0), generation).layers["bn"], GAMMA, BETA, 0, 0)


@both_generations
def test_a_scale_without_bias_has_beta_zeros(reread, generation):
    layers = [norm_layers()[0], caffe.scale("scale", "conv", "conv", GAMMA)]
    same_norm(reread(layers, generation).layers["bn"], GAMMA, 0, MEAN, VARIANCE)


@both_generations
def test_a_batch_norm_without_scale_has_gamma_ones(reread, generation):
    same_norm(reread(norm_layers()[:1], generation).layers["bn"], 1, 0, MEAN, VARIANCE)


@both_generations
def test_a_scale_goes_to_the_batch_norm_that_wrote_its_blob(reread, generation):
    norms = [caffe.batch_norm(name, "data", name, MEAN, VARIANCE) for name in "ab"]
    layers = [*norms, caffe.scale("sb", "b", "sb", GAMMA), caffe.scale("sa", "a", "sa", BETA)]
    found = reread(layers, generation).layers
    same_norm(found["a"], BETA, 0, MEAN, VARIANCE)
    same_norm(found["b"], GAMMA, 0, MEAN, VARIANCE)


@pytest.mark.parametrize("eps", [1e-5, 2e-5, 1e-3])
def test_epsilon_is_the_number_meant(reread, eps):
    assert reread(norm_layers(eps=eps)).layers["bn"].epsilon == eps


@both_generations
def test_epsilon_is_caffes_default_where_the_file_has_none(reread, generation):
    layers = norm_layers()
    layers[0].parameters.clear()
    assert reread(layers, generation).layers["bn"].epsilon == 1e-5


CONVOLUTION = caffe.convolution("conv", "a", "b", KERNEL)


@both_generations
@pytest.mark.parametrize(
    ("pools", "pad"),
    [
        ([], None),
        ([caffe.max_pool("pool", "b", "c")], 0),
        ([caffe.pool("average", "b", "c", pool=caffe.AVERAGE, pad=[3])], None),
        ([caffe.pool("average", "b", "c", pool=caffe.AVERAGE, pad=[3]), caffe.max_pool("pool", "b", "c", 1)], 1),
        ([caffe.max_pool("pool", "b", "c", 1), caffe.max_pool("pool2", "b", "c", 2)], 1),
        ([caffe.pool("pool", "b", "c", pool=caffe.MAX, pad_h=1, pad_w=1)], 1),
    ],
)
def test_pool_pad_is_the_first_max_pools(reread, generation, pools, pad):
    assert reread([CONVOLUTION, *pools], generation).pool_pad == pad


BEFORE = {
    "nothing": ([], "conv"),
    "a convolution": ([caffe.convolution("conv", "data", "conv", KERNEL)], "conv"),
    "a ReLU after the BatchNorm": ([norm_layers()[0], caffe.relu("relu", "conv", "conv")], "conv"),
    "another Scale": (norm_layers(), "conv"),
    "another Scale of the same blob": (norm_layers("bn"), "bn"),
}


@both_generations
@pytest.mark.parametrize(("before", "blob"), BEFORE.values(), ids=BEFORE)
def test_a_scale_that_follows_no_batch_norm_is_refused(reread, generation, before, blob):
    type_ = {"layer": "Scale", "layers": "40"}[generation]
    layers = [*before, caffe.scale("late", blob, "late", GAMMA)]
    refuses(f"layer 'late' of type {type_}: a Scale of what no BatchNorm wrote", reread, layers, generation)


def test_a_scale_of_two_blobs_is_refused(reread):
    layers = [*norm_layers()[:1], caffe.scale("scale", ("conv", "gate"), "out", GAMMA)]
    refuses("layer 'scale' of type Scale", reread, layers)


def test_a_scale_without_weights_is_ignored(reread):
    layers = [*norm_layers(), caffe.Layer("Scale", "excite", ("conv", "gate"), "out")]
    assert [*reread(layers).layers] == ["bn"]


@pytest.mark.parametrize(("generation", "type_"), [("layer", "PReLU"), ("layers", "44")])
def test_weights_of_an_unknown_type_are_refused(reread, generation, type_):
    layers = [*norm_layers(), caffe.Layer("PReLU", "prelu", "conv", "conv", [GAMMA])]
    refuses(f"layer 'prelu' of type {type_}", reread, layers, generation)


def test_an_older_layer_that_looks_like_none_known_is_refused(reread):
    layers = [caffe.Layer("BatchNorm", "deconvolution", "a", "b", [KERNEL, GAMMA])]
    refuses("layer 'deconvolution' of type 39: weights of an unknown type", reread, layers, "layers")


def test_two_layers_of_one_name_are_refused(reread):
    refuses("layer 'conv' of type Convolution: a second layer", reread, [CONVOLUTION, CONVOLUTION])


MISSHAPEN = {
    "a kernel of three dimensions": caffe.Layer("Convolution", "x", "a", "b", [KERNEL[0]]),
    "a dense kernel of three dimensions": caffe.Layer("InnerProduct", "x", "a", "b", [KERNEL[0]]),
    "a dense kernel of one dimension": caffe.Layer("InnerProduct", "x", "a", "b", [GAMMA]),
    "three blobs": caffe.Layer("Convolution", "x", "a", "b", [KERNEL.T, GAMMA, GAMMA]),
    "a bias of another size": caffe.convolution("x", "a", "b", KERNEL, BIAS),
    "a bias of two dimensions": caffe.inner_product("x", "a", "b", DENSE, BIAS.reshape(2, 2)),
    "two blobs of a norm": caffe.Layer("BatchNorm", "x", "a", "b", [MEAN, VARIANCE]),
    "a factor of two values": caffe.Layer("BatchNorm", "x", "a", "b", [MEAN, VARIANCE, MEAN[:2]]),
    "a variance of another size": caffe.batch_norm("x", "a", "b", MEAN, VARIANCE[1:]),
}


@pytest.mark.parametrize("layer", MISSHAPEN.values(), ids=MISSHAPEN)
def test_misshapen_weights_are_refused(reread, layer):
    refuses(f"layer 'x' of type {layer.type}", reread, [layer])


@both_generations
@pytest.mark.parametrize("blobs", [[GAMMA[1:]], [GAMMA, BETA[1:]], [GAMMA, BETA, BETA]])
def test_a_scale_that_does_not_fit_its_norm_is_refused(reread, generation, blobs):
    layers = [norm_layers()[0], caffe.Layer("Scale", "scale", "conv", "conv", blobs)]
    refuses("layer 'scale' of type", reread, layers, generation)


def spoil_pop(blob):
    blob.data.pop()


def spoil_extra(blob):
    blob.data.append(0)


def spoil_shape(blob):
    blob.ClearField("shape")
    blob.num = 0


def spoil_negative(blob):
    blob.shape.dim[:] = [-1, -1, *[side for side in blob.shape.dim if side > 0]]


def spoil_huge(blob):
    blob.shape.dim[:] = [2**62] * 4


def spoil_many(blob):
    blob.shape.dim.extend([1] * 100)


@pytest.mark.parametrize("spoil", [spoil_pop, spoil_extra, spoil_shape, spoil_negative, spoil_huge, spoil_many])
def test_values_that_do_not_fill_the_shape_are_refused(read_bytes, spoil):
    message = caffe.net([CONVOLUTION])
    spoil(message.layer[0].blobs[0])
    refuses("layer 'conv' of type Convolution", read_bytes, message.SerializeToString())


def test_doubles_beyond_float32_are_infinite(reread):
    layers = [caffe.convolution("conv", "a", "b", np.full((1, 1, 1, 1), 1e300))]
    assert reread(layers, double=True).layers["conv"].kernel.item() == np.inf


def test_norms_encoded_by_hand_are_read(read_bytes):
    two, one = (encoded((7, encoded((1, bytes([size]))))) for size in (2, 1))
    factor = one + encoded((5, np.array([2], "<f4").tobytes()))
    eps = varint(8 * 3 + 5) + np.array([1e-3], "<f4").tobytes()
    bn = [(1, b"bn"), (2, b"BatchNorm"), (3, b"a"), (4, b"a"), (7, two + VALUES), (7, two + VALUES), (7, factor)]
    scale = [(1, b"sc"), (2, b"Scale"), (3, b"a"), (4, b"a"), (7, two + VALUES), (142, encoded((4, 0)))]
    norm = read_bytes(encoded((100, encoded(*bn, (139, eps))), (100, encoded(*scale)))).layers["bn"]
    assert (norm.mean.tolist(), norm.gamma.tolist(), norm.epsilon) == ([1.5, 2], [3, 4], 1e-3)


def test_a_tiny_factor_warns_of_nothing(reread):
    assert np.isinf(reread(norm_layers(scale_factor=1e-45)).layers["bn"].mean).all()


def test_a_name_need_not_be_utf8(read_bytes):
    message = caffe.net([CONVOLUTION])
    message.layer[0].name = b"conv\xff"
    assert [*read_bytes(message.SerializeToString()).layers] == ["conv\ufffd"]


def test_files_without_weights_are_refused(reread, read_bytes):
    refuses("no layer has weights", read_bytes, b"")
    refuses("no layer has weights", reread, [caffe.relu("relu", "a", "b")])


def test_a_path_without_a_file_is_refused(tmp_path):
    refuses("No such file", read_caffemodel, tmp_path / "none.caffemodel")
    refuses("directory", read_caffemodel, tmp_path)


@both_generations
def test_a_truncated_file_is_refused_or_read_up_to_a_layer(read_bytes, generation):
    whole = caffe.net(NETWORK, generation).SerializeToString()
    names = ["conv1", "bn", "fc"]
    for size in range(0, len(whole), 7):
        try:
            found = [*read_bytes(whole[:size]).layers]
        except ArgumentError:
            continue
        assert found == names[: len(found)]


@pytest.fixture(scope="module")
def read_any(tmp_path_factory):
    path = tmp_path_factory.mktemp("caffe") / "net.caffemodel"

    def read_any(content):
        path.write_bytes(content)
        with suppress(ArgumentError):
            read_caffemodel(path)

    return read_any


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(read_any, content):
    read_any(content)


@both_generations
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_overwritten_bytes_raise_nothing_else(read_any, generation, data):
    content = bytearray(caffe.net(NETWORK, generation).SerializeToString())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=8)).items():
        content[place] = value
    read_any(bytes(content))


def test_protobuf_is_imported_only_to_read():
    code = "import sys; sys.modules['google.protobuf'] = None; import keras_resnet.weights.caffe"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": "jax"})
