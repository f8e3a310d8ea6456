"""The house rules that no linter knows: who may import whom, what is public, and how long things get."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import telemetry_mcp

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "core" / "telemetry_mcp"
PLUGINS = ROOT / "plugins"
PLUGIN_PREFIX = "telemetry_mcp_"

LAYERS = (
    {"analysis", "boundary", "credential", "demo", "errors", "log", "model", "text", "toml", "unit"},
    {"clock", "problem", "question", "secret", "setting", "span"},
    {"quota", "rate"},
    {"allowance", "breaker", "cache", "catalog", "client", "gather", "look", "thread"},
    {"derivation", "http", "objective", "turn"},
    {"access", "audit", "shared"},
    {"config", "detector", "source"},
    {"guard", "hookspecs"},
    {"plugin"},
    {"__init__", "registry"},
    {"contract", "outcome", "part"},
    {"fanout", "judge", "merge"},
    {"reading", "veil"},
    {"engine", "stream", "testing"},
    {"screen"},
    {"view"},
    {"server"},
    {"terminal"},
    {"cli"},
    {"__main__"},
)
"""The lowest first: a module imports from lower layers only. A new one must be given its place here."""
LAYER = {module: layer for layer, modules in enumerate(LAYERS) for module in modules}

MAY_USE_THE_DEMO = {"terminal", "cli", "__main__", "demo"}

MAX_FILE = 400
MAX_FUNCTION = 60

PUBLIC = """
AuditRecord AuditSink AuthError BadQueryError Change ChangeQuery Check ConfigError Context Dependency
DependencyQuery Detector Duration Entry ForbiddenError Http HttpReply HttpSettings Incident IncidentQuery
MetricQuery NativeQuery NotFoundError OnCall OnCallQuery PlanError PluginSettings ProtocolError Quota
RateLimitedError RelatedQuery RemoteSettings Reply Series SeriesQuery Service ServiceQuery Slo SloQuery Source
SourceError SourceSettings SourceTimeoutError TelemetryError Threads TimelineQuery UpstreamError Window bounded
clean clock_check date_s decode_json error_for_status failed_check gather hookimpl http_for now_ms
parse_json retry_after side_by_side tls_context trace_headers
"""


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), named(path))


def imports(path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every import statement of a file, wherever it stands: the module, and the names taken from it."""
    package = path.relative_to(CORE.parent if path.is_relative_to(CORE) else PLUGINS).parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            near = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*near, *([node.module] if node.module else [])])
            yield module, tuple(alias.name for alias in node.names)


def imported(path: Path) -> set[str]:
    """The modules of the engine that a file imports, each by its name right under telemetry_mcp."""
    found = set()
    for module, names in imports(path):
        package, _, rest = module.partition(".")
        if package == "telemetry_mcp":
            found |= (
                {rest.partition(".")[0]} if rest else {n if n in present() else "__init__" for n in names or ("",)}
            )
    return found


def room(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def present() -> set[str]:
    return {room(path) for path in files(CORE)}


def plugins() -> list[Path]:
    return sorted(path for path in PLUGINS.glob(f"{PLUGIN_PREFIX}*") if files(path))


def of_core() -> list[Path]:
    return files(CORE)


def of_plugins() -> list[Path]:
    return [path for plugin in plugins() for path in files(plugin)]


# ---- who imports whom


def test_every_module_of_the_engine_has_its_layer() -> None:
    assert present() - set(LAYER) == set()
    assert sum(len(modules) for modules in LAYERS) == len(LAYER)


@pytest.mark.parametrize("path", of_core(), ids=named)
def test_a_module_imports_only_from_the_layers_below_it(path: Path) -> None:
    own = room(path)
    wrong = {other for other in imported(path) - {own} if LAYER.get(other, len(LAYERS)) >= LAYER.get(own, -1)}
    assert wrong == set()


def test_the_rule_on_layers_sees_every_way_to_import() -> None:
    # Guards the guard: what it does not see, it cannot forbid.
    assert {"config", "guard", "plugin"} <= imported(CORE / "registry.py")
    assert "http" in imported(CORE / "source.py")
    assert "errors" in imported(CORE / "__init__.py")


@pytest.mark.parametrize("path", files(CORE / "analysis"), ids=named)
def test_the_analysis_knows_only_numbers(path: Path) -> None:
    allowed = {"numpy", *sys.stdlib_module_names}
    outside = {
        module for module, _ in imports(path) if module.partition(".")[0] not in allowed | {"telemetry_mcp"}
    }
    assert outside == set()
    assert imported(path) <= {"analysis", "model"}


@pytest.mark.parametrize("path", files(CORE / "demo"), ids=named)
def test_the_demo_stands_outside_the_engine(path: Path) -> None:
    assert imported(path) <= {"demo"}


def test_the_demo_is_used_by_the_commands_only() -> None:
    assert {room(path) for path in of_core() if "demo" in imported(path)} <= MAY_USE_THE_DEMO
    assert [named(path) for path in of_plugins() if "demo" in imported(path)] == []


@pytest.mark.parametrize("path", of_core(), ids=named)
def test_the_engine_imports_no_plugin(path: Path) -> None:
    names = {plugin.name for plugin in plugins()}
    assert [module for module, _ in imports(path) if module.partition(".")[0] in names] == []
    texts = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
    assert texts & names == set()


@pytest.mark.parametrize("path", of_plugins(), ids=named)
def test_a_plugin_takes_public_names_only_and_nothing_of_another(path: Path) -> None:
    own = path.relative_to(PLUGINS).parts[0]
    public = set(telemetry_mcp.__all__)
    wrong = []
    for module, names in imports(path):
        package = module.partition(".")[0]
        if package == "telemetry_mcp" and (module != package or not names or set(names) - public):
            wrong.append(f"{module}: {', '.join(names)}")
        if package in ("core", "plugins") or (package.startswith(PLUGIN_PREFIX) and package != own):
            wrong.append(module)
    assert wrong == []


# ---- what is there


def test_every_plugin_has_an_entry_point_of_its_name_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["entry-points"]["telemetry_mcp"]
    assert {module.partition(".")[0] for module in declared.values()} == {plugin.name for plugin in plugins()}
    assert {name: module.removeprefix(PLUGIN_PREFIX).rpartition(".")[2] for name, module in declared.items()} == {
        name: name for name in declared
    }


def test_the_public_names_are_sorted_complete_and_these() -> None:
    (names,) = (
        node.value
        for node in tree(CORE / "__init__.py").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert ast.literal_eval(names) == sorted(telemetry_mcp.__all__)
    taken = {name for _, several in imports(CORE / "__init__.py") for name in several}
    assert taken == set(telemetry_mcp.__all__)
    assert telemetry_mcp.__all__ == PUBLIC.split()
    assert all(hasattr(telemetry_mcp, name) for name in telemetry_mcp.__all__)


# ---- how it is written


def test_any_exception_is_kept_in_one_place_only() -> None:
    broad = {"Exception", "BaseException"}
    found = []
    for path in of_core() + of_plugins():
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = {ast.unparse(part) for part in ast.walk(node.type)} if node.type else broad
            last = node.body[-1]
            raised_again = isinstance(last, ast.Raise) and last.exc is None
            if caught & broad and not raised_again:
                found.append(named(path))
    assert found == [named(CORE / "boundary.py")]


@pytest.mark.parametrize("path", of_core() + of_plugins(), ids=named)
def test_no_file_and_no_function_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE
    functions = (n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION} == {}
