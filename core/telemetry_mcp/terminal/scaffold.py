"""`telemetry-mcp plugins new`: a small package that works, with the contract's tests over it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

from telemetry_mcp.plugin import installed
from telemetry_mcp.terminal.target import CommandError

TEMPLATES = Path(__file__).parent / "template"
FILES: Mapping[str, str] = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "src/{package}/__init__.py": "source.py.txt",
    "tests/test_contract.py": "test_contract.py.txt",
}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write(name: str, into: Path) -> list[Path]:
    """Write the package `name` as a new folder in `into`; returns its files. Nothing that exists is written over.

    Raises CommandError when the name cannot be one, is taken by an installed plugin, or the folder exists.
    """
    if not NAME.fullmatch(name):
        raise CommandError(f"{name!r} cannot be the name of a plugin: small letters, digits and single hyphens")
    package = name.replace("-", "_")
    if iskeyword(package) or find_spec(package) is not None:
        raise CommandError(
            f"a package {package} could not be imported beside what Python has: choose another name"
        )
    if name in installed():
        raise CommandError(f"a plugin called {name} is installed already; two of one name cannot be told apart")
    folder = into / name
    if folder.exists():
        raise CommandError(f"{folder} exists already")
    words = {
        "name": name,
        "package": package,
        "klass": "".join(part.capitalize() for part in name.split("-")),
        "title": " ".join(part.capitalize() for part in name.split("-")),
        "variable": package.upper(),
    }
    written = []
    for place, template in FILES.items():
        path = folder / place.format(package=package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(filled((TEMPLATES / template).read_text(encoding="utf-8"), words), encoding="utf-8")
        written.append(path)
    return written


def filled(text: str, words: Mapping[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: words[match[1]], text)
