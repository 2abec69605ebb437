"""Whatever untrusted code leaves in its folder is removed."""

import os

from kopt.sandbox.remove import remove_folder


def test_a_folder_is_removed_however_deep_and_locked_its_tree_is(tmp_path):
    top, outside = tmp_path / "scratch", tmp_path / "outside"
    (top / "locked" / "inner").mkdir(parents=True)
    (top / "locked" / "inner" / "file").write_text("x")
    outside.mkdir()
    (outside / "kept").write_text("x")
    (top / "link").symlink_to(outside)
    (top / "broken").symlink_to("nowhere")
    place = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("a", dir_fd=place)
        inner = os.open("a", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(place)
    (top / "locked").chmod(0)
    top.chmod(0o500)
    remove_folder(top)
    assert not top.exists()
    assert (outside / "kept").exists()


def test_a_folder_that_is_not_there_is_no_error(tmp_path):
    remove_folder(tmp_path / "nothing")
