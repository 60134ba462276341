"""What a process runs on."""

import os
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

import keras_resnet
from keras_resnet import machine

CPUINFO = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu avx512_bf16

processor\t: 1
model name\t: AMD EPYC 9R14
"""


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")


def show_gpus(monkeypatch, *names):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: names if kind == "GPU" else ())
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda name: {"device_name": name})


def test_a_processor_has_a_name_and_flags(cpuinfo):
    assert machine.processor() == "AMD EPYC 9R14"
    assert machine.processor_flags() == {"fpu", "avx512_bf16"}


def test_other_systems_name_the_processor_too(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.processor()
    assert machine.processor_flags() == frozenset()


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    assert 1 <= machine.cores() <= os.cpu_count()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert machine.cores() == 1


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], "2 cores of AMD EPYC 9R14"),
        (["NVIDIA H200"], "NVIDIA H200, 2 cores of AMD EPYC 9R14"),
        (["NVIDIA L4", "NVIDIA L4"], "2 x NVIDIA L4, 2 cores of AMD EPYC 9R14"),
    ],
)
def test_hardware_names_gpus_and_counts_cores(gpus, expected, cpuinfo, monkeypatch):
    show_gpus(monkeypatch, *gpus)
    monkeypatch.setattr(machine, "cores", lambda: 2)
    assert machine.hardware() == expected


def test_versions_are_of_what_is_imported(monkeypatch):
    monkeypatch.setitem(machine.sys.modules, "jax", SimpleNamespace(__version__="0.10.0"))
    versions = machine.versions()
    assert versions["keras"] == keras.__version__
    assert versions["keras_resnet"] == keras_resnet.__version__
    assert versions["jax"] == "0.10.0"
