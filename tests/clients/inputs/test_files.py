from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from yais.clients.inputs import files, images
from yais.clients.inputs.files import list_files, load_npz, save_npz
from yais.clients.inputs.workload import ServedModel, draw, find_inputs
from yais.clients.options import CommonOptions
from yais.clients.protocol import ModelMetadata, TensorMetadata

PLAIN = CommonOptions("localhost:1", "", "", 1.0, None, "lite", None, None, "random", 0, None, {})


def of(shape: tuple[int, ...], datatype: str = "UINT8", is_batched: bool = True) -> ServedModel:
    return ServedModel(ModelMetadata("model", ("1",), "", (TensorMetadata("A", datatype, shape),), ()), "", is_batched)


def options(**changes: Any) -> CommonOptions:
    return replace(PLAIN, **changes)


def save_greys(folder: Path, *levels: int) -> Path:
    for index, level in enumerate(levels):
        Image.new("RGB", (8, 8), (level, level, level)).save(folder / f"{index}.png")
    return folder


def greys(model: ServedModel, common: CommonOptions, count: int) -> list[list[int]]:
    """The level of each row of the first requests."""
    drawn = islice(draw(find_inputs(model, common), common.seed), count)
    return [inputs["A"].reshape(-1, 8, 8, 3)[:, 0, 0, 0].tolist() for inputs in drawn]


def test_the_pictures_of_a_folder_take_turns(tmp_path: Path) -> None:
    common = options(picture=save_greys(tmp_path, 30, 10, 20))
    assert greys(of((-1, 8, 8, 3)), common, 4) == [[30], [10], [20], [30]]


def test_the_pictures_of_a_folder_take_turns_in_a_batch(tmp_path: Path) -> None:
    common = options(picture=save_greys(tmp_path, 30, 10, 20), batch={2: 1.0})
    assert greys(of((-1, 8, 8, 3)), common, 3) == [[30, 10], [20, 30], [30, 10]]


def test_few_pictures_fill_a_large_batch(tmp_path: Path) -> None:
    common = options(picture=save_greys(tmp_path, 30, 10), batch={5: 1.0})
    assert greys(of((-1, 8, 8, 3)), common, 2) == [[30, 10, 30, 10, 30]] * 2


def test_a_model_without_a_batch_dimension_gets_picture_after_picture(tmp_path: Path) -> None:
    common = options(picture=save_greys(tmp_path, 30, 10))
    assert greys(of((8, 8, 3), is_batched=False), common, 3) == [[30], [10], [30]]
    assert find_inputs(of((8, 8, 3), is_batched=False), common)[0].items[0]["A"].shape == (8, 8, 3)


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(click.UsageError, match=rf"--picture: {tmp_path} holds no pictures \(\.bmp, .*\.webp\)"):
        find_inputs(of((-1, 8, 8, 3)), options(picture=tmp_path))


def test_more_pictures_than_fit_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_BYTES", 2 * 8 * 8 * 3)
    save_greys(tmp_path, 30, 10)
    assert len(images.fit_images(tmp_path, TensorMetadata("A", "UINT8", (-1, 8, 8, 3)), "none")) == 2
    save_greys(tmp_path, 30, 10, 20)
    with pytest.raises(click.UsageError, match="holds 3 pictures; 2 of 192 bytes fit in memory"):
        find_inputs(of((-1, 8, 8, 3)), options(picture=tmp_path))


def test_the_npz_files_of_a_folder_take_turns(tmp_path: Path) -> None:
    for index in (2, 1):
        np.savez(tmp_path / f"{index}.npz", A=np.array([index]))
    (tmp_path / "notes.txt").write_text("")
    drawn = islice(draw(find_inputs(of((-1,)), options(npz=tmp_path))), 3)
    assert [inputs["A"].tolist() for inputs in drawn] == [[1], [2], [1]]


def test_a_folder_without_npz_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match=f"{tmp_path} holds no .npz files"):
        find_inputs(of((-1,)), options(npz=tmp_path))


def test_a_broken_file_in_a_folder_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "1.npz", A=np.arange(1000))
    content = bytearray((tmp_path / "1.npz").read_bytes())
    content[100:200] = bytes(100)
    (tmp_path / "1.npz").write_bytes(content)
    with pytest.raises(click.BadParameter, match=r"1\.npz cannot be read: "):
        find_inputs(of((-1,)), options(npz=tmp_path))


def test_the_requests_of_a_json_file_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "requests.json"
    tensor = '{"inputs": [{"name": "A", "datatype": "INT8", "shape": [1], "data": [%d]}]}'
    path.write_text(f"[{tensor % 4}, {tensor % 5}]")
    drawn = islice(draw(find_inputs(of((-1,)), options(json=path))), 3)
    assert [inputs["A"].tolist() for inputs in drawn] == [[4], [5], [4]]


def test_a_broken_json_file_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "requests.json").write_text("[]")
    with pytest.raises(click.BadParameter, match="holds no request") as raised:
        find_inputs(of((-1,)), options(json=tmp_path / "requests.json"))
    assert raised.value.param_hint == "--json"


def test_batch_sizes_are_drawn_by_weight() -> None:
    choices = find_inputs(of((-1, 4)), options(batch={1: 70.0, 8: 30.0}))
    assert [(choice.weight, choice.items[0]["A"].shape) for choice in choices] == [(70, (1, 4)), (30, (8, 4))]


def test_requests_of_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 3 << 20)
    large = options(batch={1 << 20: 1.0})
    assert len(find_inputs(of((-1, 4)), large)) == 1
    assert len(find_inputs(of((-1, 1)), options(batch={1 << 20: 1.0, 2 << 20: 1.0}))) == 2
    with pytest.raises(click.UsageError, match="--batch: the requests take more than 3 MiB of memory"):
        find_inputs(of((-1, 1)), options(batch={1 << 20: 1.0, (2 << 20) + 1: 1.0}))
    with pytest.raises(click.UsageError, match="more than 3 MiB"):
        find_inputs(of((-1, 1)), options(batch={(1 << 20) + more: 1.0 for more in range(3)}))


def test_a_file_is_listed_as_itself_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"")
    assert list_files(tmp_path / "picture", (".png",)) == [tmp_path / "picture"]


def test_files_of_a_folder_are_sorted_and_suffixes_may_be_written_large(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.png", "c.jpg", ".d.png"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in list_files(tmp_path, (".png",))] == ["a.png", "b.PNG"]
    assert [file.name for file in list_files(tmp_path)] == ["a.png", "b.PNG", "c.jpg"]


@pytest.mark.parametrize("name", ["file", "allow_pickle", "dense/Softmax:0", "mlp/3/OUTPUT0", "a b", "ü", "a.npy"])
def test_arrays_of_any_name_come_back_from_a_file(tmp_path: Path, name: str) -> None:
    save_npz(tmp_path / "arrays", {name: np.arange(3), "other": np.array([[b"x"]])})
    arrays = load_npz(tmp_path / "arrays")
    assert list(arrays) == [name, "other"]
    assert arrays[name].tolist() == [0, 1, 2]
    assert arrays["other"].tolist() == [[b"x"]]


def test_no_objects_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        save_npz(tmp_path / "arrays.npz", {"A": np.array([b"x"], np.object_)})
