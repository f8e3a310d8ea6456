"""The plugins.toml of a trial: the author's settings, the way to the backend, and planted secrets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.config import read
from telemetry_mcp.plugin import SOURCES
from telemetry_mcp.registry import Loader
from telemetry_mcp.secret import spell
from telemetry_mcp.source import Source
from telemetry_mcp.toml import bare, toml

NAME = "tested"
"""What the source is called in the trial's configuration."""
SHORTEST_SECRET = 8
"""A shorter one would be found in any text by accident: it is replaced by a planted one."""
SECRET_NAMES = ("key", "token", "secret", "password", "passphrase")


def document(table: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """plugins.toml with this one source; metrics that are not built in are declared."""
    lines = [f"[sources.{NAME}]", *(f"{bare(key)} = {toml(value)}" for key, value in table.items())]
    lines += [f"[sources.{NAME}.metrics]"] if metrics else []
    lines += [f"{bare(name)} = {toml(query)}" for name, query in metrics.items()]
    lines += [f"[metrics.{bare(name)}]" for name in metrics if name not in BUILT_IN]
    return "\n".join([*lines, ""])


def located(plugin: str, test: type) -> str:
    """The name of an entry point as it is; a file's path made absolute, from the folder of the test."""
    path, colon, wanted = plugin.partition(":")
    if not path.endswith(".py"):
        return plugin
    beside = Path(str(sys.modules[test.__module__].__file__)).parent / path
    found = beside if beside.is_file() else Path(path)
    return f"{found.resolve()}{colon}{wanted}"


def class_of(plugin: str, folder: Path) -> type[Source]:
    """The source class behind `plugin`, found by the registry. AssertionError, with its words, where it is not."""
    path = folder / "plugins.toml"
    path.write_text(document({"plugin": plugin}, {}), encoding="utf-8")
    loader = Loader(read(path, {}))
    found = loader.found(loader.config.sources[0], SOURCES)
    if found is None:
        reasons = [*map(str, loader.config.problems), *(absent.reason for absent in loader.absent)]
        raise AssertionError("; ".join(reasons))
    return found


def is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(is_secret(part) for part in get_args(annotation))


def secret_fields(source: type[Source]) -> list[str]:
    """The settings that hold one secret each."""
    fields = source.Settings.model_fields.items()
    return [name for name, field in fields if is_secret(field.annotation) and "dict" not in str(field.annotation)]


def careless_fields(source: type[Source]) -> list[str]:
    """The settings that are called like a secret and are not kept like one."""
    fields = source.Settings.model_fields.items()
    texts = [name for name, field in fields if str in (field.annotation, *get_args(field.annotation))]
    return [name for name in texts if name.lower().endswith(SECRET_NAMES)]


def planted(source: type[Source], settings: Mapping[str, Any]) -> dict[str, str]:
    """The secret of each field that is set or must be: the author's own, or one that is unmistakable."""
    secrets = {}
    for name in secret_fields(source):
        own = str(settings.get(name, ""))
        if name in settings or source.Settings.model_fields[name].is_required():
            salt = sha256(name.encode()).hexdigest()[:12]
            secrets[name] = own if len(own) >= SHORTEST_SECRET else f"planted-{name}-{salt}"
    return secrets


def filled(value: Any, reach: Mapping[str, Any]) -> Any:
    """A setting with `{url}` in it replaced by where the backend is."""
    return value.replace("{url}", str(reach.get("url", ""))) if isinstance(value, str) else value


def holds(text: str, secret: str) -> bool:
    """Whether the secret is in a text, in any of the spellings in which it may travel."""
    return any(spelling in text for spelling in spell(secret))
