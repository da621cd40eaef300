"""A hook of mkdocs: pages keep the places that they have in the repository, so that their links hold there and here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of the navigation, and every file that a page links to."""
    found: dict[str, File] = {}
    left = [*named(config.nav or [])]
    while left:
        path = left.pop()
        if path not in found and (made := file_of(path, config)):
            found[path] = made
            left += linked(path)
    return Files([*found.values()])


def named(nav: Any) -> Iterator[str]:
    """The paths that a navigation names, at any depth."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from named(entry)


def linked(path: str) -> list[str]:
    """Paths from the root of what a page links to."""
    if not (path.endswith(".md") and (ROOT / path).is_file()):
        return []
    text = (ROOT / path).read_text(encoding="utf-8")
    targets = [(ROOT / path).parent / link for link in LINK.findall(text.replace("\n", " "))]
    return [str(target.resolve().relative_to(ROOT)) for target in targets if target.resolve().is_relative_to(ROOT)]


def file_of(path: str, config: MkDocsConfig) -> File | None:
    """A file as it is, or the page that is made of the notebook of its name; None where there is neither."""
    notebook = (ROOT / path).with_suffix(".ipynb")
    if (ROOT / path).is_file():
        return File(path, str(ROOT), config.site_dir, config.use_directory_urls)
    if not notebook.is_file():
        return None
    return File.generated(config, path, content=markdown(json.loads(notebook.read_text(encoding="utf-8"))))


def markdown(notebook: dict[str, Any]) -> str:
    """Its text, code and what the code shows."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else fenced(source, "python"))
        parts += [shown(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts) + "\n"


def shown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    return fenced("".join(output.get("text") or data.get("text/plain", [])).rstrip(), "text")


def fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"
