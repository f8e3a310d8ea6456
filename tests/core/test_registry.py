"""Plugins are loaded one by one: a broken one costs its own source only."""

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from telemetry_mcp.config import FILE_NAME, read
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.plugin import installed
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.registry import Absent, Registry, load

SERVICES = ServiceQuery(Window(0, 60_000))

GOOD = """
from telemetry_mcp import Reply, Service, Source, hookimpl

class Acme(Source):
    closed = False

    async def list_services(self, query):
        return Reply([Service("from-" + self.context.name)])

    async def close(self):
        self.closed = True

@hookimpl
def telemetry_sources():
    return [Acme]
"""
TWO = """
from telemetry_mcp import Source, hookimpl

class Metrics(Source): ...
class Alerts(Source): ...

@hookimpl
def telemetry_sources():
    return [Metrics, Alerts]
"""
MISSPELT = """
from telemetry_mcp import Source, hookimpl

class Acme(Source): ...

@hookimpl
def telemetry_source():
    return [Acme]
"""
WRONG_ARGUMENT = MISSPELT.replace("telemetry_source()", "telemetry_sources(config)")
UNMARKED = MISSPELT.replace("@hookimpl\ndef telemetry_source()", "def telemetry_sources()")
RAISES = GOOD.replace("return [Acme]", "return [Nowhere]")
INSTANCES = GOOD.replace("return [Acme]", "return [Acme(None, None)]")
NOTHING = GOOD.replace("return [Acme]", "return None")


def loaded(folder: Path, toml: str = "", **plugins: str) -> Registry:
    """The registry over the given plugin files: one source of the file's name each, then `toml`."""
    sources = ""
    for name, code in plugins.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        sources += f'[sources.{name}]\nplugin = "./{name}.py"\n'
    (folder / FILE_NAME).write_text(sources + toml, encoding="utf-8")
    return load(read(folder / FILE_NAME, {}))


def broken(registry: Registry) -> Absent:
    (absent,) = registry.absent
    assert absent.broken
    assert absent.fix
    return absent


async def test_a_plugin_file_beside_the_configuration_answers(tmp_path: Path) -> None:
    registry = loaded(tmp_path, acme=GOOD)
    (instance,) = registry.instances
    assert (instance.name, instance.plugin, instance.capabilities) == ("acme", "./acme.py", ("services",))
    async with Fanout(registry) as fan:
        (outcome,) = await fan.ask(SERVICES, Deadline(5))
    assert [service.name for service in outcome.reply.items] == ["from-acme"]


async def test_one_plugin_serves_any_number_of_sources(tmp_path: Path) -> None:
    registry = loaded(tmp_path, '[sources.other]\nplugin = "./acme.py"', acme=GOOD)
    async with Fanout(registry) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
    assert [o.reply.items[0].name for o in outcomes] == ["from-acme", "from-other"]
    assert registry["acme"].guard is not registry["other"].guard


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param("import no_such_module_here", "ModuleNotFoundError: No module named", id="import"),
        pytest.param("def (", "SyntaxError", id="syntax"),
        pytest.param("1 / 0", "ZeroDivisionError: division by zero", id="raises"),
        pytest.param(MISSPELT, "unknown hook 'telemetry_source'", id="misspelt-hook"),
        pytest.param(WRONG_ARGUMENT, "config", id="wrong-argument"),
        pytest.param(UNMARKED, "no telemetry_sources hook (is @hookimpl above it?)", id="unmarked"),
        pytest.param(RAISES, "NameError", id="hook-raises"),
        pytest.param(INSTANCES, "must hand over Source classes, not <", id="instances"),
        pytest.param(NOTHING, "TypeError", id="hook-gives-nothing"),
        pytest.param(
            GOOD.replace("async def list", "def list"), "Acme.list_services must be `async def`", id="sync"
        ),
        pytest.param(GOOD.replace("(self, query)", "(self)"), "list_services must take (self, query)", id="takes"),
        pytest.param(GOOD.replace("[Acme]", "['Acme']"), "must hand over Source classes, not 'Acme'", id="names"),
        pytest.param(TWO, "these sources: Metrics, Alerts; name one, as ./bad.py:NAME", id="two-classes"),
    ],
)
async def test_a_plugin_that_cannot_be_used_costs_its_own_sources_only(
    tmp_path: Path, code: str, reason: str
) -> None:
    registry = loaded(tmp_path, '[sources.again]\nplugin = "./bad.py"', bad=code, good=GOOD)
    assert [i.name for i in registry.instances] == ["good"]
    assert [(a.name, a.broken) for a in registry.absent] == [("bad", True), ("again", True)]
    assert all(reason in absent.reason for absent in registry.absent)
    async with Fanout(registry) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
    assert [(o.source, o.status) for o in outcomes] == [("good", "ok"), ("bad", "failed"), ("again", "failed")]


@pytest.mark.parametrize("name", ["Metrics", "metrics", "Alerts"])
def test_of_two_classes_the_named_one_is_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    registry = loaded(tmp_path, f'[sources.a]\nplugin = "./two.py:{name}"')
    assert type(registry["a"].source).__name__.lower() == name.lower()


def test_a_class_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO, encoding="utf-8")
    assert "Metrics, Alerts" in broken(loaded(tmp_path, '[sources.a]\nplugin = "./two.py:Traces"')).reason


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        code = GOOD.replace("Acme", f"Acme{folder}")
        (tmp_path / folder / "acme.py").write_text(code, encoding="utf-8")
    toml = "".join(f'[sources.{name}]\nplugin = "./{name}/acme.py"\n' for name in ("one", "two"))
    registry = loaded(tmp_path, toml)
    assert [type(i.source).__name__ for i in registry.instances] == ["Acmeone", "Acmetwo"]


@pytest.mark.parametrize(
    "fault",
    [
        "def __init__(self, settings, context): raise ValueError('t0ken-in-the-error')",
        "@classmethod\n    def headers(cls, settings): raise KeyError(settings.token.get_secret_value())",
    ],
)
def test_a_source_that_cannot_be_built_is_absent_and_tells_no_secret(tmp_path: Path, fault: str) -> None:
    code = f"""
from pydantic import SecretStr
from telemetry_mcp import HttpSettings, Source, hookimpl

class Acme(Source):
    class Settings(HttpSettings):
        token: SecretStr
    {fault}

@hookimpl
def telemetry_sources():
    return [Acme]
"""
    (tmp_path / "bad.py").write_text(code, encoding="utf-8")
    toml = '[sources.bad]\nplugin = "./bad.py"\nurl = "http://127.0.0.1:1"\ntoken = "t0ken-in-the-error"'
    registry = loaded(tmp_path, toml, good=GOOD)
    assert [i.name for i in registry.instances] == ["good"]
    reason = broken(registry).reason
    assert reason.startswith("it cannot be built: ")
    assert "***" in reason
    assert "t0ken" not in reason


def test_settings_that_crash_cost_their_own_source_only(tmp_path: Path) -> None:
    crash = """
from pydantic import field_validator
from telemetry_mcp import SourceSettings

class Crash(SourceSettings):
    @field_validator("plugin")
    @classmethod
    def crash(cls, value):
        raise KeyError(value)
"""
    code = crash + GOOD.replace("closed = False", "Settings = Crash")
    registry = loaded(tmp_path, bad=code, good=GOOD)
    assert [i.name for i in registry.instances] == ["good"]
    assert "KeyError" in broken(registry).reason


def test_a_plugin_that_is_not_enabled_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "asleep.py").write_text("raise AssertionError", encoding="utf-8")
    registry = loaded(tmp_path, acme=GOOD)
    assert registry.absent == ()
    assert not any("asleep" in name for name in sys.modules)


def test_the_installed_plugins_are_known_without_importing_them() -> None:
    assert {"datadog", "newrelic", "pagerduty", "prometheus"} <= set(installed())


def test_a_broken_plugin_does_not_hide_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, "pages = 3", bad="1 / 0", good=GOOD)
    assert [(p.table, p.key) for p in raised.value.problems] == [("sources.good", "pages")]


def test_a_sources_own_timeout_and_concurrency_stand_before_the_defaults(tmp_path: Path) -> None:
    toml = 'timeout = "3s"\nmax_concurrency = 2\n[sources.other]\nplugin = "./acme.py"\n[defaults]\ntimeout = "5s"'
    registry = loaded(tmp_path, toml, acme=GOOD)
    assert (registry["acme"].guard.timeout_s, registry["acme"].guard.max_concurrency) == (3, 2)
    assert (registry["other"].guard.timeout_s, registry["other"].guard.max_concurrency) == (5, 16)


def test_each_source_hides_its_own_secrets(tmp_path: Path) -> None:
    keyed = GOOD.replace("closed = False", "Settings = Keyed").replace(
        "class Acme",
        "from pydantic import SecretStr\nfrom telemetry_mcp import SourceSettings\n\n"
        "class Keyed(SourceSettings):\n    token: SecretStr\n\nclass Acme",
    )
    registry = loaded(tmp_path, 'token = "t0ken"', acme=keyed)
    assert registry["acme"].redact("with t0ken") == "with ***"
    assert isinstance(registry["acme"].source.settings.model_dump()["token"], SecretStr)


async def test_closing_closes_every_source_though_one_fails(tmp_path: Path) -> None:
    failing = GOOD.replace("self.closed = True", "raise OSError('stuck')")
    registry = loaded(tmp_path, stuck=failing, good=GOOD)
    await registry.close()
    assert registry["good"].source.closed  # type: ignore[attr-defined]
