"""Where the project is: at or above the working directory, or else one line that says so."""

import os

import pytest

from pconv.errors import PConvError
from pconv.project import ProjectError, model_folder, project_root


def test_the_nearest_folder_with_dvc_yaml_is_the_root(tmp_path, monkeypatch):
    deep = tmp_path / "outer" / "inner" / "notebooks"
    deep.mkdir(parents=True)
    for folder in (tmp_path / "outer", tmp_path / "outer" / "inner"):
        (folder / "dvc.yaml").touch()
    (deep / "dvc.yaml").mkdir()  # a folder of that name is no project
    monkeypatch.chdir(deep)
    assert project_root() == deep.parent.resolve() == project_root(deep)
    assert project_root(tmp_path / "outer") == (tmp_path / "outer").resolve()
    assert model_folder(2) == deep.parent.resolve() / "models" / "stage2"


def test_outside_a_project_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ProjectError, match=rf"^no dvc.yaml at or above {tmp_path}: run this inside the project$"
    ) as caught:
        project_root()
    assert isinstance(caught.value, PConvError) and isinstance(caught.value, FileNotFoundError)


def test_a_working_directory_that_was_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(
        ProjectError, match="the working directory does not exist any more: run this inside the project"
    ):
        project_root()


def test_a_folder_that_cannot_be_looked_into_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "closed").mkdir()
    stat = os.stat

    def denied(path, *args, **options):
        if str(path).startswith(f"{tmp_path}/closed/"):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", denied)
    assert project_root(tmp_path / "closed") == tmp_path.resolve()
