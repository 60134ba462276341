"""Hostile files end in our error, which names them, or in the right values: see `campaign`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_resnet
from hostile import peaks
from hostile.attacks import ATTACKS
from hostile.campaign import MEGABYTE, SPARE, Range
from hostile.sound import FORMATS
from keras_resnet.checks import ArgumentError, printable
from keras_resnet.training.evaluate import Evaluation
from keras_resnet.weights import foreign

FAST, EXHAUSTIVE = 63, 2000
MODULES = ("hdf5", "keras_archive", "torch_pickle", "safetensors_file", "caffe_wire", "npz")
KINDS = {
    **{".weights.h5": "hdf5", ".keras": "keras_archive", ".safetensors": "safetensors_file", ".npz": "npz"},
    **{".pth": "torch_pickle", ".th": "torch_pickle", ".caffemodel": "caffe_wire"},
}
HARMLESS = {  # they only look odd, or what reads them does not look there
    *("another_array_is_large.weights.h5", "packed_and_never_written.weights.h5", "many_groups.weights.h5"),
    *("marked_bfloat16.weights.h5", "header_of_spaces.safetensors"),
    *("nested_lists.pth", "nested_lists.th", "two_dicts_of_lists.pth", "two_dicts_of_lists.th"),
}
POINT_ELSEWHERE = ("external_", "soft_link", "virtual", "hard_link", "circle")


def twin(name):
    return name.replace(".keras", ".weights.h5").replace(".th", ".pth")


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    return Range(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(autouse=True)
def _few_seconds(monkeypatch):
    monkeypatch.setattr(foreign, "SECONDS", 10)


@pytest.mark.parametrize("suffix", FORMATS)
def test_sound_files_are_loaded(tried, suffix):
    assert {outcome.ended for outcome in tried.tried("sound", tried.sound[suffix])} == {"loaded"}


ALIKE = (".keras", ".th")  # many attacks are the same as on .weights.h5 and on .pth


DIFFERENT = [name for name in ATTACKS if not (name.endswith(ALIKE) and twin(name) in ATTACKS)]
SELDOM = DIFFERENT[::3]  # behind the fast tests


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SELDOM)) for name in DIFFERENT]
)
def test_an_attack_ends_in_our_error_or_the_right_values(tried, name):
    outcomes = {outcome.use: outcome.ended for outcome in tried.tried(name, tried.attacked(name))}
    points_elsewhere = name.startswith(POINT_ELSEWHERE)
    assert set(outcomes.values()) == {"refused"} or not points_elsewhere
    assert "refused" in outcomes.values() or name in HARMLESS or name.endswith(".keras")


@pytest.mark.parametrize("name", ["vocabulary_from_a_file.keras", "code_in_a_lambda.keras", "unknown_members.keras"])
def test_no_model_is_made_of_what_reads_files_or_runs_code(tried, name):
    ended = {outcome.use: outcome.ended for outcome in tried.tried(name, tried.attacked(name))}
    assert ended["load_model"] == "refused"


@pytest.mark.parametrize("kind", range(len(FORMATS)), ids=FORMATS)
def test_damaged_files_end_in_our_error_or_the_right_values(tried, kind):
    for number in range(kind, FAST, len(FORMATS)):
        tried.tried(*tried.damaged(number))


@pytest.mark.exhaustive
def test_two_thousand_hostile_files_end_in_our_error_or_the_right_values(tried):
    for name in ATTACKS:
        tried.tried(name, tried.attacked(name))
    for number in range(EXHAUSTIVE - len(ATTACKS)):
        tried.tried(*tried.damaged(number))


BOMBS = (
    *("declares_much_in_chunks.weights.h5", "declares_much_packed.keras", "nested_groups.weights.h5"),
    *("chunk_larger_than_the_array.weights.h5", "wide_numbers.weights.h5", "weights_of_spaces.keras"),
    *("config_of_lists.keras", "config_of_spaces.keras", "large_table_of_contents.keras", "stride_of_0.pth"),
    *("reserves_bytes.th", "memo_of_2_gigabytes.pth", "compressed.pth", "pickle_of_spaces.pth", "large_in_truth.th"),
    *("many_tensors.safetensors", "large_in_truth.safetensors", "empty_layers.caffemodel"),
    *("unpacked_values.caffemodel", "npz_packed.npz", "npz_huge_shape.npz"),
)


@pytest.mark.slow
def test_bombs_do_not_fill_the_memory_of_the_process_that_reads_them(tried, tmp_path):
    arguments = []
    for name in BOMBS:
        path = tried.attacked(name).rename(tmp_path / name)  # not copied: some are holes of gigabytes
        arguments += [KINDS[ATTACKS[name][0]], str(path)]
    process = subprocess.run([sys.executable, peaks.__file__, *arguments], capture_output=True, text=True, check=True)
    assert 20 * MEGABYTE < int(process.stdout) < SPARE


def test_what_reads_files_of_others_imports_no_keras():
    imports = "; ".join(f"import keras_resnet.weights.foreign.{module}" for module in ("child", *MODULES))
    code = f"import sys; {imports}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"keras", "tensorflow", "torch", "google.protobuf"} & set(loaded)


def test_a_file_that_takes_too_long_is_refused(tried, monkeypatch):
    monkeypatch.setattr(foreign, "SECONDS", 0)
    with pytest.raises(ArgumentError, match=r"more than 0 seconds.*net\.weights\.h5"):
        keras_resnet.load_weights(tried.other, tried.sound[".weights.h5"])


def test_a_process_that_crashes_is_told(tried, monkeypatch):
    monkeypatch.setattr(foreign, "environment", lambda: {**os.environ, "PYTHONPATH": "/nowhere"})
    with pytest.raises(ArgumentError, match=r"reading it fails: exit 1.*net\.weights\.h5"):
        keras_resnet.load_weights(tried.other, tried.sound[".weights.h5"])


def test_a_pipe_is_no_file(tried, tmp_path):
    os.mkfifo(tmp_path / "net.safetensors")
    with pytest.raises(foreign.UnreadableError, match="a pipe"):
        foreign.declared(tmp_path / "net.safetensors", "safetensors_file")


@pytest.fixture
def no_processes(monkeypatch):
    def refuse(*arguments, **more):
        raise AssertionError("a process")

    monkeypatch.setattr(subprocess, "Popen", refuse)


@pytest.mark.usefixtures("no_processes")
def test_the_packages_own_files_are_read_without_another_process():
    assert keras_resnet.build("resnet20", weights="cifar10").count_params() == 271098


@pytest.mark.usefixtures("no_processes")
def test_a_file_of_others_with_the_name_of_ours_is_read_in_another_process(tried, tmp_path):
    path = shutil.copy(tried.sound[".keras"], tmp_path / "resnet20-cifar10.keras")
    with pytest.raises(AssertionError, match="a process"):
        foreign.declared(Path(path), "keras_archive")


def test_a_file_that_changes_between_its_shapes_and_its_values_is_refused(tried, tmp_path):
    path = Path(shutil.copy(tried.sound[".weights.h5"], tmp_path / "net.weights.h5"))
    file = foreign.declared(path, "hdf5")
    keras_resnet.ResNet20().save_weights(path)
    with pytest.raises(foreign.UnreadableError, match="changed"):
        dict(foreign.values(file, file.arrays))


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("not_finite.weights.h5", "stem_conv.*not finite"),
        ("infinite_double.keras", "stem_conv.*not finite"),
        ("not_finite_in_torch.pth", "stem_conv.*not finite"),
        ("caffe_not_finite.caffemodel", "stem_conv.*not finite"),
        ("negative_variance.keras", "stem_norm.*below zero"),
        ("epsilon_is_0.keras", "stem_norm.*epsilon of 0"),
        ("caffe_eps_below_0.caffemodel", "stem_norm.*epsilon of -1"),
    ],
)
def test_values_that_no_network_computes_with_are_refused_with_the_layers_name(tried, attack, reason):
    outcomes = tried.tried(attack, tried.attacked(attack))
    assert [re.search(reason, outcome.said) is None for outcome in outcomes] == [False] * len(outcomes)


def test_a_flipped_bit_in_torchs_archive_is_a_wrong_checksum(tried):
    (outcome,) = tried.tried("flip", tried.attacked("flipped_in_a_storage.pth"))
    assert "CRC" in outcome.said


def test_a_flipped_bit_in_keras_archive_is_a_wrong_checksum(tried, tmp_path):
    content = tried.sound[".keras"].read_bytes()
    kernel = tried.right[0].tobytes()
    place = content.index(kernel)
    (tmp_path / "net.keras").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    outcomes = tried.tried("flip", tmp_path / "net.keras")
    assert all("CRC" in outcome.said for outcome in outcomes)


LARGE = """
import sys, pathlib, warnings, keras_resnet
from hostile.campaign import memory_now, memory_peak
from hostile.sound import caffe_layers, state_dict, write_pth, write_th
from safetensors.numpy import save_file
from helpers import caffe_files as caffe
path, suffix = pathlib.Path(sys.argv[1]), sys.argv[2]
model = keras_resnet.build("resnet18" if suffix == ".caffemodel" else "wide_resnet28_10")  # Caffe's is slow to write
state = state_dict(model)
if suffix == ".pth": write_pth(path, state)
elif suffix == ".th": write_th(path, state)
elif suffix == ".safetensors": save_file(state, path)
elif suffix == ".caffemodel": caffe.write(path, list(caffe_layers(model)))
elif suffix == ".keras": model.save(path)
else: model.save_weights(path)
del state
weights = sum(weight.nbytes for weight in model.get_weights())
before = memory_now()
keras_resnet.load_weights(model, path) if sys.argv[3] == "load_weights" else keras_resnet.load_model(path)
print(memory_peak() - before, weights)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "use"), [(suffix, "load_weights") for suffix in KINDS if suffix != ".npz"]
                         + [(".keras", "load_model")])  # fmt: skip
def test_a_large_network_takes_three_times_its_weights_at_most(suffix, use, tmp_path):
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    command = [sys.executable, "-c", LARGE, tmp_path / f"net{suffix}", suffix, use]
    process = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert not process.returncode, process.stderr
    more, weights = map(int, process.stdout.split())
    assert weights > 40 * MEGABYTE
    assert more < 3 * weights + SPARE


ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b1m\u202e\udcff\r"


def test_what_steers_a_terminal_is_written_out():
    assert printable(ESCAPES) == r"\x1b]0;title\x07\x1b[2J\x9b1m\u202e\udcff\r"
    assert printable("Ångström, 猫,\nünï") == "Ångström, 猫,\nünï"


def test_class_names_and_cards_are_printed_without_escapes():
    told = str(Evaluation(1.0, 1.0, 0.0, np.eye(2, dtype=int), (ESCAPES, "cat")))
    card = keras_resnet.Card(network="net", config={}, input_shape=(8, 8, 3), class_names=(ESCAPES, "cat"))
    for text in (told, card.to_markdown()):
        assert r"\x1b[2J" in text
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(text)


@pytest.mark.parametrize("part", ["name", "moving_variance"])
def test_names_of_layers_in_errors_have_no_escapes(tried, part, tmp_path):
    import h5py

    path = shutil.copy(tried.sound[".weights.h5"], tmp_path / "net.weights.h5")
    with h5py.File(path, "a") as file:
        file.create_group("layers/more/vars")["0"] = np.ones(3)
        file["layers/more/vars"].attrs["name"] = ESCAPES[:-2]
    with pytest.raises(ArgumentError, match=r"left over: \\x1b") as caught:
        keras_resnet.load_weights(tried.other, path)
    assert "\x1b" not in str(caught.value)
