"""Reading manifests from files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gatewayproxy.errors import ConfigError
from gatewayproxy.model.source import MAX_SOURCE_BYTES
from gatewayproxy.ops.sources import directory, read_files, read_paths


def _names(root: Path, *paths: str) -> list[str]:
    read = read_paths([str(root / path) for path in paths] or [str(root)])
    return [os.path.relpath(source.file, root) for source in read.sources]


def test_folders_are_walked_in_name_order_and_only_manifests_are_read(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "c/z.yml", "c/a.yaml", "notes.txt", ".hidden.yaml", "c/.git/x.yaml"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    assert _names(tmp_path) == ["a.json", "b.yaml", "c/a.yaml", "c/z.yml"]


def test_a_kubelet_volume_is_read_once_through_its_links(tmp_path: Path) -> None:
    data = tmp_path / "..2026_11_21"
    data.mkdir()
    (data / "gateway.yaml").write_text("kind: Gateway")
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    read = read_paths([str(tmp_path)])
    assert [(Path(s.file).name, s.text) for s in read.sources] == [("gateway.yaml", b"kind: Gateway")]


def test_a_file_named_twice_is_read_once_and_any_name_will_do(tmp_path: Path) -> None:
    (tmp_path / "gateway.conf").write_text("{}")
    assert _names(tmp_path, "gateway.conf", "gateway.conf") == ["gateway.conf"]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["absent", "empty folder"])
def test_nothing_to_read_is_an_error_with_the_path_and_a_hint(tmp_path: Path, make: object) -> None:
    path = tmp_path / "config"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError) as caught:
        read_paths([str(path)])
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_whoever_means_standard_input_is_told_its_name() -> None:
    with pytest.raises(ConfigError) as caught:
        read_paths(["-"])
    assert caught.value.hint == "standard input is called /dev/stdin"


def test_a_broken_link_is_a_problem_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("nowhere")
    (tmp_path / "b.yaml").write_text("{}")
    read = read_paths([str(tmp_path)])
    assert [Path(s.file).name for s in read.sources] == ["b.yaml"]
    assert [(p.origin.file, p.message) for p in read.problems] == [
        (str(tmp_path / "a.yaml"), "cannot read: No such file or directory")
    ]


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(MAX_SOURCE_BYTES + 1)
    (tmp_path / "small.yaml").write_text("{}")
    read = read_paths([str(tmp_path)])
    assert [Path(s.file).name for s in read.sources] == ["small.yaml"]
    assert read.problems[0].message == f"has more than {MAX_SOURCE_BYTES} bytes"


def test_a_named_pipe_in_a_folder_does_not_hang_the_reload(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    read = read_paths([str(tmp_path)])
    assert read.sources == ()
    assert [p.message for p in read.problems] == ["not a regular file"]


def test_a_pipe_named_by_the_operator_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"kind: Gateway")
    os.close(writer)
    try:
        assert read_paths([f"/dev/fd/{reader}"]).sources[0].text == b"kind: Gateway"
    finally:
        os.close(reader)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{}")
    (tmp_path / "loop").symlink_to(".")
    with pytest.raises(ConfigError, match="nest deeper"):
        read_paths([str(tmp_path)])


def test_folders_are_counted_as_often_as_links_lead_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "MAX_FOLDERS", 200)
    for n in range(12):
        (tmp_path / f"d{n}").mkdir()
    for n in range(11):
        (tmp_path / f"d{n}" / "a").symlink_to(f"../d{n + 1}")
        (tmp_path / f"d{n}" / "b").symlink_to(f"../d{n + 1}")
    with pytest.raises(ConfigError, match="more than 200 folders"):
        read_paths([str(tmp_path / "d0")])


def test_wanted_files_come_with_their_contents_or_none(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(b"PEM")
    (tmp_path / "huge").write_bytes(bytes(directory.MAX_WANTED_BYTES + 1))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    paths = [str(tmp_path / name) for name in ("tls.crt", "absent", "huge", "pipe", "endless", ".", "nul\0")]
    assert list(read_files(paths).values()) == [b"PEM", *[None] * 6]
