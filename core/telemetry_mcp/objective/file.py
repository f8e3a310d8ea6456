"""Reads SLO files: OpenSLO v1 and slo-generator v2, one or many documents a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from glob import glob
from pathlib import Path
from typing import Any

from pydantic import Field

from telemetry_mcp.objective import openslo, slogenerator
from telemetry_mcp.objective.document import Backend, DocumentError, Node, Table
from telemetry_mcp.setting import Duration, Strict

Found = tuple[str, Table, Backend | None]
"""An objective's name, its table, and where its document says that its numbers are."""
Fill = Callable[[Any], Any]
Report = Callable[[Path, str, str, str], None]
"""Takes what is wrong with a file: the file, the key in it, what was found, what is valid."""


class SloFile(Strict):
    """`[slo_files.<name>]`: files of objectives, and what they do not say themselves."""

    path: str = Field(description="path or pattern (slos/*.yaml), beside plugins.toml")
    source: str | None = Field(None, description="the source that is asked, where a file names none of ours")
    service: str | None = Field(None, description="the service, instead of the files' own")
    window: Duration | None = Field(None, description="the window of files that have none (slo-generator): 28d")


def tables(folder: Path, settings: SloFile, fill: Fill, report: Report) -> Iterator[tuple[Path, Found]]:
    """Every objective of the files. `fill` puts in the variables; what cannot be used is told to `report`."""
    paths = [folder / found for found in sorted(glob(settings.path, root_dir=folder, recursive=True))]
    if not paths:
        report(folder / settings.path, "", "no such file", "The path starts at plugins.toml")
    documents = [(path, node) for path in paths for node in read(path, fill, report)]
    specs = openslo.OpenSlo([node for _, node in documents if node.at("apiVersion").value == openslo.API])
    for path, node in documents:
        try:
            for name, table, backend in of_document(node, specs, settings):
                yield path, (name, table | ({"service": settings.service} if settings.service else {}), backend)
        except DocumentError as error:
            name = node.at("metadata", "name").value
            report(path, f"{name}: {error.key}" if name else error.key, error.found, error.valid)


def of_document(node: Node, specs: openslo.OpenSlo, settings: SloFile) -> Iterator[Found]:
    api = node.at("apiVersion").one_of(openslo.API, slogenerator.API)
    if api == openslo.API:
        yield from specs.tables(node)
        return
    name, table, backend = slogenerator.table(node)
    yield name, table | ({"window": settings.window} if settings.window else {}), backend


def read(path: Path, fill: Fill, report: Report) -> list[Node]:
    import yaml  # here, as most configurations have no such file and every start would pay for it

    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        return [Node(fill(document), written=document) for document in documents if document]
    except (OSError, UnicodeDecodeError) as error:
        report(path, "", f"cannot be read: {error}", "")
    except RecursionError:
        report(path, "", "is nested too deeply", "An alias must not stand inside what it means")
    except (yaml.YAMLError, ValueError) as error:
        # Dates and numbers that cannot be are a ValueError.
        report(path, "", f"is not valid YAML: {' '.join(str(error).split())[:200]}", "")
    return []
