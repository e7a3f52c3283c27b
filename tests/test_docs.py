"""Every relative link in the documentation leads somewhere: files, pictures and headings."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "web" / "docs").glob("*.md")])
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)>?(?:\s+["'][^)]*)?\)|<(?:img|a)\s[^>]*?(?:src|href)=["']([^"']+)["']""")


def prose(page: Path) -> str:
    """The text without code, in which brackets mean something else."""
    return re.sub(r"`[^`\n]*`", "code", re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S))


def links(page: Path) -> list[str]:
    """Targets of links and pictures within the repository."""
    found = [first or second for first, second in LINK.findall(prose(page))]
    return [target for target in found if not re.match(r"[a-z][a-z0-9+.-]*:|//", target)]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as code hosts make them: lower case, hyphens, no punctuation."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+\s+(.*?)\s*$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere."""
    lost = []
    for target in links(page):
        path, _, heading = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        inside = place.is_relative_to(ROOT)
        if not inside or not place.exists() or (heading and heading not in anchors(place)):
            lost.append(target)
    return lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_broken_links_are_seen(tmp_path, monkeypatch):
    """A page with one good and one bad of every kind."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# Who, what?\n## A `code` title\n")
    (tmp_path / "a.png").touch()
    page = tmp_path / "page.md"
    page.write_text(
        "# Top\n[a](there.md#who-what) [b](#top) ![c](a.png) <img src='a.png'> [d](https://example.org/x)\n"
        "`[e](lost.md)` [`f`](there.md#a-code-title)\n```\n[g](lost.md)\n```\n"
        "[1](lost1.md) ![2](lost2.png) [3](there.md#lost3) [4](#lost4) <img alt='' src=\"lost5.png\"> [6](../lost6)\n"
        '[7](lost7.md "title")\n'
    )
    lost = ["lost1.md", "lost2.png", "there.md#lost3", "#lost4", "lost5.png", "../lost6", "lost7.md"]
    assert broken(page) == lost


def test_every_page_can_be_found():
    """From README.md one reaches every page of docs."""
    seen, open_pages = set(), [ROOT / "README.md"]
    while open_pages:
        page = open_pages.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        open_pages += [(page.parent / target.partition("#")[0]).resolve() for target in links(page)]
    assert [page.name for page in (ROOT / "docs").rglob("*.md") if page not in seen] == []


def test_every_core_node_of_the_host_is_named():
    from wdlora.host import install_api

    install_api()
    from wdlora.host.core_nodes import classes
    from wdlora.host.registry import Registry

    registry = Registry()
    for cls, display_name, module in classes():
        registry.add(cls, module, display_name=display_name)
    named = set(re.findall(r"\w+", prose(ROOT / "docs" / "reference" / "embedded-host.md")))
    assert {node.node_id for node in registry} - named == set()


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    packages = {re.split(r"[^\w.-]", text)[0] for group in asked for text in group} - {project["name"]}
    listed = set(re.findall(r"[\w.-]+", (ROOT / "docs" / "reference" / "dependencies.md").read_text(encoding="utf-8")))
    assert packages - listed == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "guides").glob("*.md")), ids=lambda page: page.stem)
def test_guides_are_short(page):
    """What is longer belongs to the reference or to the studies."""
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 150
