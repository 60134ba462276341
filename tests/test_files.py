"""What is written appears whole or not at all."""

from contextlib import suppress

import pytest

from keras_resnet.files import completed, new_folder


class TestFiles:
    def test_a_completed_file_appears_whole_or_not_at_all(self, tmp_path):
        with suppress(ZeroDivisionError), completed(tmp_path / "a") as partial:
            partial.write_text("half")
            _ = 1 / 0
        assert not list(tmp_path.iterdir())
        with completed(tmp_path / "a") as partial:
            partial.write_text("whole")
            assert not (tmp_path / "a").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_an_existing_file_is_refused(self, tmp_path):
        (tmp_path / "a").write_text("mine")
        with pytest.raises(ValueError, match="nothing exists"), completed(tmp_path / "a"):
            pass
        assert (tmp_path / "a").read_text() == "mine"

    def test_new_folders_are_numbered_and_empty_ones_removed(self, tmp_path):
        for name in ("run", "run-2", "run-3"):
            with new_folder(tmp_path / "runs", "run") as folder:
                (folder / "file").touch()
            assert folder.name == name
        with new_folder(tmp_path / "runs", "run"):
            pass
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["run", "run-2", "run-3"]
