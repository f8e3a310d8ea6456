"""plugins.toml -> typed settings. Every fault is collected, so that one run shows them all."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from telemetry_mcp.access.consistency import misfits
from telemetry_mcp.access.setting import AccessSettings, LimitSettings
from telemetry_mcp.audit.setting import SpoolSettings
from telemetry_mcp.cache import CacheSettings
from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric
from telemetry_mcp.errors import ConfigError, Problem
from telemetry_mcp.objective.file import SloFile, tables
from telemetry_mcp.objective.resolution import Draft, Resolution, resolve
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.problem import problems_of
from telemetry_mcp.setting import FOLDER, Duration, Strict
from telemetry_mcp.shared.setting import RedisSettings

M = TypeVar("M", bound=BaseModel)

ENV_PATH = "TELEMETRY_MCP_CONFIG"
FILE_NAME = "plugins.toml"
PLACEHOLDER = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")
"""Capitals only: `${service}` and `${__interval}` belong to the queries."""
DEFAULTED = "Set it, or write a default: ${NAME:-default}"


class Defaults(Strict):
    """What holds for every source and call that says nothing else."""

    timeout: Duration = Field(8.0, description="longest wait for one answer of one source")
    deadline: Duration = Field(10.0, description="longest wait for one call, when it names none")
    max_deadline: Duration = Field(60.0, description="longest deadline_s that a call may name")
    lookback: Duration = Field(90 * 86400.0, description="how far back a question may reach")
    max_points: int = Field(60, ge=10, le=2000, description="points of a time series in an answer")
    max_tokens: int | None = Field(None, ge=100, description="tokens of an answer with series, unless a call says")


class ServerSettings(Strict):
    """The HTTP endpoint. Hosts and origins beyond loopback must be named here to be let in."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = Field(
        (), description="addresses or networks whose X-Forwarded-For is believed"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def addresses(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ValueError(
                    f"{proxy!r} is no address and no network, such as 10.0.0.7 or 10.0.0.0/24"
                ) from None
        return proxies

    stateless: bool | None = Field(
        None, description="keep no sessions of older clients (default: with [redis] url, where there are others)"
    )


@dataclass(frozen=True, slots=True)
class PluginTable:
    """One `[sources.<name>]`, `[detectors.<name>]` or `[audit.<name>]` with its placeholders filled in; `missing`
    names variables that are not set."""

    kind: str
    name: str
    values: Mapping[str, Any] = field(repr=False)  # with secrets filled in
    raw: Mapping[str, Any] = field(repr=False)
    missing: tuple[str, ...]
    queries: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What objectives ask of this source besides its own metrics: hidden metric -> query."""

    @property
    def path(self) -> str:
        """Where it stands in plugins.toml."""
        return f"{self.kind}.{self.name}"

    @property
    def optional(self) -> bool:
        return self.raw.get("optional") is True


@dataclass(slots=True)
class Config:
    """What plugins.toml says. `problems` is what is wrong with it apart from the sources' own tables, `digest` the
    SHA-256 of the file."""

    path: Path
    defaults: Defaults = field(default_factory=Defaults)
    cache: CacheSettings = field(default_factory=CacheSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    access: AccessSettings = field(default_factory=AccessSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    catalog: Catalog = field(default_factory=lambda: Catalog(BUILT_IN))
    objectives: dict[str, Objective] = field(default_factory=dict)
    dependencies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sources: list[PluginTable] = field(default_factory=list)
    detectors: list[PluginTable] = field(default_factory=list)
    audit: list[PluginTable] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    digest: str = ""


TABLES = (
    *("defaults", "metrics", "sources", "detectors", "audit"),
    *("slos", "slo_files", "dependencies", "cache", "server", "access", "limits", "spool", "redis"),
)


def locate(path: Path | None, environ: Mapping[str, str]) -> Path:
    """--config, $TELEMETRY_MCP_CONFIG, ./plugins.toml, the user's configuration directory: the first there is."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    user = Path(environ.get("APPDATA", home) if sys.platform == "win32" else home) / "telemetry-mcp" / FILE_NAME
    named = path or (Path(environ[ENV_PATH]) if environ.get(ENV_PATH) else None)
    places = [named] if named else [Path(FILE_NAME), user]
    for place in places:
        if place.is_file():
            return place
    tried = " or ".join(str(place) for place in places)
    raise ConfigError([Problem(tried, "", "", "no such file", "Name one with --config, or run with --demo")])


def read(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in `path`. ConfigError at once only when it is not TOML at all."""
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode().replace("\r\n", "\n").replace("\r", "\n"))
    except OSError as error:
        raise ConfigError([Problem(str(path), "", "", f"cannot be read: {error.strerror}", "")]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        valid = "Is a table there twice, such as two sources of one name?" if "declare" in str(error) else ""
        raise ConfigError([Problem(str(path), "", "", f"is not valid TOML: {error}", valid)]) from error
    return replace(Reader(path, document, environ).config(), digest=sha256(content).hexdigest())


class Reader:
    """Turns one parsed document into a Config, collecting what is wrong on the way."""

    def __init__(self, path: Path, document: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self.path = path
        self.document = document
        self.environ = environ
        self.problems: list[Problem] = []

    def config(self) -> Config:
        for name in self.document:
            if name not in TABLES:
                self.report(name, "", "no such table", f"Valid: {', '.join(f'[{t}]' for t in TABLES)}")
        defaults, catalog = self.defaults(), self.catalog()
        sources = list(self.plugins("sources"))
        objectives, redis = self.objectives(catalog, sources, defaults), self.table(RedisSettings, "redis")
        return Config(
            path=self.path,
            defaults=defaults,
            cache=self.table(CacheSettings, "cache"),
            server=self.server(redis),
            access=self.access(catalog),
            limits=self.table(LimitSettings, "limits"),
            spool=self.table(SpoolSettings, "spool"),
            redis=redis,
            catalog=Catalog({**catalog.metrics, **objectives.metrics}),
            objectives=objectives.objectives,
            dependencies=dict(self.dependencies()),
            sources=[replace(table, queries=objectives.queries.get(table.name, {})) for table in sources],
            detectors=list(self.plugins("detectors")),
            audit=list(self.plugins("audit")),
            problems=self.problems,
        )

    def table(self, model: type[M], name: str) -> M:
        raw = self.document.get(name, {})
        return self.validated(model, name, raw) or model()

    def server(self, redis: RedisSettings) -> ServerSettings:
        made = self.table(ServerSettings, "server")
        return made if made.stateless is not None else made.model_copy(update={"stateless": redis.url is not None})

    def defaults(self) -> Defaults:
        made = self.table(Defaults, "defaults")
        if made.deadline > made.max_deadline:
            valid = f"It must not be longer than max_deadline ({made.max_deadline:g} s)"
            self.report("defaults", "deadline", f"is {made.deadline:g} s", valid)
        return made

    def access(self, catalog: Catalog) -> AccessSettings:
        made = self.table(AccessSettings, "access")
        for misfit in misfits(made, catalog):
            self.report(*misfit)
        return made

    def objectives(self, catalog: Catalog, sources: Sequence[PluginTable], defaults: Defaults) -> Resolution:
        def report(draft: Draft, key: str, found: str, valid: str) -> None:
            self.problems.append(Problem(draft.file, draft.table, key, found, valid))

        plugins = {table.name: str(table.raw.get("plugin")) for table in sources}
        return resolve(list(self.drafts()), catalog, plugins, defaults.lookback, report)

    def dependencies(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Who calls whom, as far as no source knows it: caller = [callees]."""
        raw = self.document.get("dependencies", {})
        if not isinstance(raw, dict):
            self.report("dependencies", "", "is not a table", "Write [dependencies]")
            return
        for caller, callees in raw.items():
            if isinstance(callees, list) and all(isinstance(name, str) and name for name in callees):
                yield caller, tuple(callees)
            else:
                self.report("dependencies", caller, "is no list of names", 'Write caller = ["callee", ...]')

    def drafts(self) -> Iterator[Draft]:
        """Every objective that is written here, and in the files that are named here."""
        for name, raw in self.tables("slos"):
            made = self.validated(Objective, f"slos.{name}", raw)
            if made is not None:
                yield Draft(name, made, str(self.path), f"slos.{name}")
        for name, raw in self.tables("slo_files"):
            settings = self.validated(SloFile, f"slo_files.{name}", raw)
            if settings is not None:
                yield from self.of_files(f"slo_files.{name}", settings)

    def of_files(self, table: str, settings: SloFile) -> Iterator[Draft]:
        missing: list[str] = []

        def report(path: Path, key: str, found: str, valid: str) -> None:
            self.problems.append(Problem(str(path), "", key, found, valid))

        def fill(document: Any) -> Any:
            return self.filled(document, missing)

        for path, (name, raw, backend) in tables(self.path.parent, settings, fill, report):
            try:
                made = Objective.model_validate(raw)
            except ValidationError as error:
                self.problems += problems_of(error, str(path), name, Objective, raw)
                continue
            yield Draft(name, made, str(path), name, backend, settings.source)
        self.report_missing(table, {"path": settings.path}, missing, DEFAULTED)

    def catalog(self) -> Catalog:
        metrics = dict(BUILT_IN)
        for name, raw in self.tables("metrics"):
            known = metrics.get(name)
            base = known.model_dump(exclude_unset=True) if known else {}
            made = self.validated(Metric, f"metrics.{name}", {**base, **raw})
            if made is not None:
                metrics[name] = made
        self.check_names(metrics)
        return Catalog(metrics)

    def check_names(self, metrics: Mapping[str, Metric]) -> None:
        """A name, a key or an alias means one metric."""
        meanings: dict[str, str] = {}
        for metric, spec in metrics.items():
            for name in dict.fromkeys((metric, spec.key or metric, *spec.aliases)):
                other = meanings.setdefault(name, metric)
                if other != metric:
                    key = "aliases" if name in spec.aliases else "key" if name == spec.key else ""
                    what = f"{name!r} is a name, key or alias of {other} already"
                    self.report(f"metrics.{metric}", key, what, f"Change it here or in [metrics.{other}]")

    def plugins(self, kind: str) -> Iterator[PluginTable]:
        for name, raw in self.tables(kind):
            missing: list[str] = []
            values = self.filled(raw, missing)
            table = PluginTable(kind, name, values, raw, tuple(missing))
            if missing and not table.optional:
                fix = "Set it, or write optional = true to leave it off meanwhile"
                self.report_missing(table.path, raw, missing, fix)
            yield table

    def tables(self, table: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        tables = self.document.get(table, {})
        if not isinstance(tables, dict):
            self.report(table, "", "is not a table", f"Write [{table}.<name>]")
            return
        for name, raw in tables.items():
            if isinstance(raw, dict):
                yield name, raw
            else:
                self.report(table, name, "is not a table", f"Write [{table}.{name}]")

    def filled(self, value: Any, missing: list[str]) -> Any:
        """`value` with `${NAME}`, `${NAME:-default}` and `file:path` replaced by what they stand for."""
        if isinstance(value, dict):
            return {key: self.filled(item, missing) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item, missing) for item in value]
        if not isinstance(value, str):
            return value

        def put(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            found = self.environ.get(name) or default
            if found is None:
                missing.append(name)
            return found or ""

        filled = PLACEHOLDER.sub(put, value)
        return self.content(filled[5:], missing) if filled.startswith("file:") else filled

    def content(self, name: str, missing: list[str]) -> str:
        try:
            return (self.path.parent / Path(name).expanduser()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            missing.append(f"file:{name}")
            return ""

    def report_missing(self, table: str, raw: Mapping[str, Any], missing: list[str], fix: str) -> None:
        for name in dict.fromkeys(missing):
            key = next((key for key, value in raw.items() if name in str(value)), "")
            what = f"{name} cannot be read" if name.startswith("file:") else f"the variable {name} is not set"
            self.report(table, key, what, fix)

    def validated(self, model: type[M], table: str, raw: Any) -> M | None:
        if not isinstance(raw, dict):
            self.report(table, "", "is not a table", f"Write [{table}]")
            return None
        missing: list[str] = []
        values = self.filled(raw, missing)
        self.report_missing(table, raw, missing, DEFAULTED)
        try:
            return model.model_validate(values, context={FOLDER: self.path.parent})
        except ValidationError as error:
            self.problems += problems_of(error, str(self.path), table, model, raw)
            return None

    def report(self, table: str, key: str, found: str, valid: str) -> None:
        self.problems.append(Problem(str(self.path), table, key, found, valid))
