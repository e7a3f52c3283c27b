"""Paths out of workflows and requests stay below their folder, whoever asks, each in its own words."""

import pytest

from wdlora.errors import InputError
from wdlora.files import below
from wdlora.host.folders import inside


@pytest.fixture
def root(tmp_path):
    """A folder reached through a link, with a link in it that leads out and one that stays."""
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "real" / "stays").symlink_to(tmp_path / "real" / "sub")
    return tmp_path / "root"


def confined(root, name):
    from wdlora.host import pack

    pack.load_pack()
    from wdlora_pack.nodes import files

    return files.confined(root, name, "mask")


@pytest.mark.parametrize(
    ("name", "place"),
    [("a.png", "a.png"), ("sub/../a.png", "a.png"), ("stays/a.png", "sub/a.png"), ("..a", "..a")],
)
def test_what_lies_below(root, name, place):
    wanted = root.resolve() / place
    assert below(root, name) == inside(root, name) == confined(root, name) == wanted
    assert inside(root, "sub", "..", name) == wanted


@pytest.mark.parametrize("name", ["..", "../real2/a", "out", "out/a.png", "/etc/passwd", "sub/../../secret"])
def test_what_lies_outside(root, name):
    assert below(root, name) is None
    with pytest.raises(InputError, match=f"^the path '{name}' leaves its folder; give one inside it$"):
        inside(root, name)
    with pytest.raises(InputError, match=f"^the mask '{name}' must lie below real: give a name without"):
        confined(root, name)


def test_the_folder_itself_is_inside_but_no_name_of_a_file(root):
    assert below(root, ".") == inside(root, "") == inside(root) == root.resolve()
    with pytest.raises(InputError, match=r"^the mask '\.' must lie below"):
        confined(root, ".")


def test_what_no_path_can_be(root):
    with pytest.raises(InputError, match=r"^the path 'sub/a\\x00b' is not a path$"):
        inside(root, "sub", "a\0b")
    with pytest.raises(InputError, match=r"^the mask 'a\\x00b' is not a path$"):
        confined(root, "a\0b")
