"""An export replaces nothing unasked, leaves nothing half written, and refuses early what it cannot do."""

from contextlib import suppress

import numpy as np
import pytest

import keras_resnet
from helpers.exports import PREPROCESSING, network
from keras_resnet import export
from keras_resnet.data import digits
from keras_resnet.files import aside, overwritten, restored
from keras_resnet.serving import compare
from keras_resnet.serving import export as exporting
from keras_resnet.serving.compare import ExportError, run_elsewhere
from keras_resnet.serving.formats import FORMATS, Format


class TestVersions:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """Exports that write nothing but a file."""
        monkeypatch.setattr(exporting, "compared", lambda job, folder, formats: {})
        form = Format(lambda job, path: path.write_text("whole"), "file", 1e-4)
        monkeypatch.setitem(FORMATS, "saved_model", form)
        return tmp_path / "exports"

    def test_an_existing_one_is_refused_and_another_added(self, folder):
        export(network(), folder)
        (folder / "1" / "mine").touch()
        with pytest.raises(ValueError, match=r"`version`. Expected one that .* does not hold yet, 'next'"):
            export(network(), folder)
        assert export(network(), folder, version="next").name == "2"
        assert export(network(), folder, version=7).name == "7"
        assert export(network(), folder, version="next").name == "8"
        assert (folder / "1" / "mine").exists()

    def test_what_another_process_wrote_meanwhile_stays(self, folder, monkeypatch):
        def meanwhile(job, path):
            (folder / "1").mkdir(exist_ok=True)
            (folder / "1" / "mine").touch()

        monkeypatch.setitem(FORMATS, "saved_model", Format(meanwhile, "file", 1e-4))
        with pytest.raises(ValueError, match=r"`path`. Expected a path where nothing else was written meanwhile"):
            export(network(), folder, version="next")
        assert [path.name for path in folder.iterdir()] == ["1"]
        assert [path.name for path in (folder / "1").iterdir()] == ["mine"]

    def test_overwriting_leaves_nothing_of_the_old_one(self, folder):
        export(network(), folder)
        (folder / "1" / "old").touch()
        export(network(), folder, overwrite=True)
        assert {path.name for path in (folder / "1").iterdir()} == {"file", "card.json", "card.md"}
        assert [path.name for path in folder.iterdir()] == ["1"]

    def test_a_failure_leaves_the_old_one(self, folder, monkeypatch):
        export(network(), folder)

        def fail(job, folder, formats):
            raise ExportError("differs")

        monkeypatch.setattr(exporting, "compared", fail)
        with pytest.raises(ExportError):
            export(network(), folder, overwrite=True)
        assert [path.name for path in folder.iterdir()] == ["1"]
        assert (folder / "1" / "file").read_text() == "whole"

    @pytest.mark.parametrize("moved", [True, False])
    def test_a_crash_between_the_renames_is_mended(self, folder, moved):
        export(network(), folder)
        (folder / "1" / "old").touch()
        (folder / "1").rename(aside(folder / "1"))
        if moved:
            (folder / "1").mkdir()
        restored(folder)
        assert (folder / "1" / "old").exists() is not moved
        assert [path.name for path in folder.iterdir()] == ["1"]

    def test_a_crash_while_writing_leaves_the_old_one(self, tmp_path):
        (tmp_path / "1").mkdir()
        with suppress(KeyboardInterrupt), overwritten(tmp_path / "1") as partial:
            partial.mkdir()
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == ["1"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"formats": ["tensorrt"]}, r"`formats`. Expected some of saved_model, keras, litert"),
            ({"formats": []}, r"`formats`. Expected some of"),
            ({"formats": "onnx"}, r"`formats`. Expected some of"),
            ({"formats": ["litert_int8"]}, r"`data`. Expected a source of real images, which calibrate litert_int8"),
            ({"data": "digits"}, r"`data`. Expected what keras_resnet.load_data returns"),
            ({"version": 0}, r"`version`. Expected a number from 1, or 'next'"),
            ({"version": "last"}, r"`version`. Expected a number from 1, or 'next'"),
            ({"fold": 1}, r"`fold`. Expected True or False"),
            ({"preprocessing": "vgg"}, r"`preprocessing`. Expected a known name"),
        ],
    )
    def test_arguments(self, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            export(network(), tmp_path / "out", **changes)
        assert not list(tmp_path.iterdir())

    def test_data_of_other_channels_and_classes(self, tmp_path):
        images, labels = np.zeros((30, 12, 12, 3), "uint8"), np.arange(30) % 10
        with pytest.raises(ValueError, match=r"`data`. Expected images of the model's 1 channels"):
            export(network(), tmp_path / "out", data=keras_resnet.load_data((images, labels)))
        with pytest.raises(ValueError, match=r"`data`. Expected a source of the model's 10 classes"):
            export(network(), tmp_path / "out", data=keras_resnet.load_data((images[..., :1], labels % 3)))
        assert not list(tmp_path.iterdir())

    def test_a_size_that_is_not_fixed(self, tmp_path):
        with pytest.raises(ValueError, match=r"one that takes images of one size, for litert"):
            export(network((None, None, 1)), tmp_path / "out", formats=["saved_model", "litert"])

    def test_packages_that_are_missing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "tf2onnx" else name)
        with pytest.raises(ValueError, match=r"onnx only with tf2onnx, as in keras-resnet-zoo\[onnx\]"):
            export(network(), tmp_path / "out", formats=["onnx"])

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "out").touch()
        with pytest.raises(ValueError, match=r"`path`. Expected a folder"):
            export(network(), tmp_path / "out")

    @pytest.mark.parametrize("probability", [0.1 + 2e-4, np.nan])
    def test_what_computes_something_else_leaves_nothing(self, tmp_path, monkeypatch, probability):
        model = network()
        model.get_layer("predictions").kernel.assign(np.zeros((16, 10)))  # all classes are equally likely
        answers = [(np.full((16, 10), probability), 1.0)]
        monkeypatch.setattr(compare, "run_elsewhere", lambda files, images, preprocessing: answers)
        with pytest.raises(ExportError, match=r"keras differs from the network by .* nothing was written"):
            export(model, tmp_path / "out", formats=["keras"])
        assert not (tmp_path / "out").exists()

    def test_what_does_not_run_says_why(self, tmp_path):
        with pytest.raises(RuntimeError, match=r"did not run in a process of its own:\nTraceback(.|\n)*Error"):
            run_elsewhere([tmp_path / "missing.onnx"], digits().test.images[:1], PREPROCESSING)
