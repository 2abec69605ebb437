"""Pages link to what exists, the site has every page, and the files that others read of the project are right."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import kopt
from kopt.provenance import PACKAGE

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "config/README.md"))]
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`[^`\n]+`")


def text_of(page):
    """The page without blocks of code."""
    return FENCE.sub("", page.read_text())


def anchors_of(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    heads = re.findall(r"^#+ +(.+?) *#*$", text_of(page), re.M)
    shown = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in shown}


def dead_links(page):
    dead = []
    for link in LINK.findall(CODE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page):
    assert dead_links(page) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path):
    (tmp_path / "a.md").write_text("# On `this` page!\n[x](b.md) [y](#on-this-page) [z](#that) [w](https://x.y)\n")
    assert dead_links(tmp_path / "a.md") == ["b.md", "#that"]


def names_in(nav):
    for one in nav:
        for name in one.values() if isinstance(one, dict) else [one]:
            yield from [name] if isinstance(name, str) else names_in(name)


def test_the_site_has_every_page_once_and_no_page_links_out_of_it():
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
    listed = list(names_in(yaml.load((ROOT / "mkdocs.yml").read_text(), loader)["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    assert [
        page.name for page in DOCS.rglob("*.md") if re.search(r"\]\((\.\./)+(README|benchmarks|kopt)", text_of(page))
    ] == []


def test_the_boxes_of_the_graph_in_the_readme_are_rules():
    (graph,) = re.findall(r"^```mermaid\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    arrows = re.compile(r"--(?: [^\n>]*? --)?>")
    chains = [arrows.split(line) for line in graph.splitlines() if "-->" in line]
    boxes = {box.strip() for chain in chains for box in chain}
    rules = {
        name for path in (ROOT / "workflow/rules").glob("*.smk") for name in re.findall(r"rule (\w+)", path.read_text())
    }
    assert len(boxes) > 10
    assert boxes <= rules


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == kopt.__version__
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])


def test_the_workflow_catalog_finds_what_it_asks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) <= {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"]["flags"] == ""
    assert (ROOT / "Snakefile").exists()
    assert (ROOT / "config" / "README.md").exists()
    assert "report(" in (ROOT / "workflow/rules/finish.smk").read_text()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The source distribution, and the wheel that is built from it."""
    copy = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode or not tracked.stdout:
        pytest.skip("no checkout of git")
    for name in filter(None, tracked.stdout.split("\0")):
        if not name.startswith(("tests/", "docs/", "benchmarks/")) and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    setup = [sys.executable, "setup.py", "-q"]
    subprocess.run([*setup, "sdist"], cwd=copy, check=True, capture_output=True)
    (packed,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        tar.extractall(copy / "unpacked", filter="data")
    (unpacked,) = (copy / "unpacked").iterdir()
    subprocess.run([*setup, "bdist_wheel"], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = (unpacked / "dist").glob("*.whl")
    return copy, unpacked, set(zipfile.ZipFile(wheel).namelist())


def test_a_wheel_from_the_source_distribution_has_all_that_a_search_needs(distributions):
    copy, _, names = distributions
    shipped = [
        copy / "Snakefile",
        *(p for name in ("workflow", "profiles", "config") for p in (copy / name).rglob("*")),
    ]
    files = {f"kopt/project/{path.relative_to(copy)}" for path in shipped if path.is_file()}
    code = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts}
    templates = {str(path.relative_to(ROOT)) for path in (PACKAGE / "report/templates").iterdir()}
    assert files | code | templates | {"kopt/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/"))]
