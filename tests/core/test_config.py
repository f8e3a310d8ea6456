"""plugins.toml: every fault in one report, each with its place and what is valid, and never a secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from telemetry_mcp.config import FILE_NAME, Config, locate, read
from telemetry_mcp.errors import ConfigError, Problem
from telemetry_mcp.registry import Registry, load

ACME = """
from pydantic import SecretStr
from telemetry_mcp import HttpSettings, Source, hookimpl

class Acme(Source):
    class Settings(HttpSettings):
        dsn: SecretStr
        pages: int = 1

@hookimpl
def telemetry_sources():
    return [Acme]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "acme.py").write_text(ACME, encoding="utf-8")
    path = folder / FILE_NAME
    path.write_text(text, encoding="utf-8")
    return path


def config(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    return read(written(folder, text), environ or {})


def loaded(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Registry:
    return load(config(folder, text, environ))


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything wrong with the file, as one ConfigError tells it."""
    with pytest.raises(ConfigError) as raised:
        loaded(folder, text, environ)
    assert str(raised.value).count("\n") == len(raised.value.problems) - 1
    return list(raised.value.problems)


def only(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Problem:
    (problem,) = problems(folder, text, environ)
    return problem


PATHS = """
ca_file = "ca.pem"
[redis]
url = "rediss://127.0.0.1:1/0"
ca_file = "ca.pem"
[access]
keys = "secret/keys.json"
secret = "0123456789012345678901234567890123456789"
[spool]
path = "~/spool"
[audit.log]
plugin = "file"
path = "audit.jsonl"
"""
SOURCE = '[sources.a]\nplugin = "./acme.py"\nurl = "http://127.0.0.1:1"\ndsn = "d"\n'


def path_of(settings: object, key: str) -> Path:
    found = getattr(settings, key)
    assert isinstance(found, Path)
    return found


async def test_a_relative_path_begins_beside_the_file_wherever_the_server_is_started(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    found = config(tmp_path, SOURCE + PATHS)
    registry = load(found)
    assert path_of(registry["a"].source.settings, "ca_file") == tmp_path / "ca.pem"
    assert found.redis.ca_file == tmp_path / "ca.pem"
    assert found.access.keys == tmp_path / "secret" / "keys.json"
    assert found.spool.path == Path.home() / "spool"
    assert path_of(registry.sinks["log"].settings, "path") == tmp_path / "audit.jsonl"
    await registry.close()


def test_a_file_that_is_not_there_is_told_as_it_was_written(tmp_path: Path) -> None:
    fault = only(tmp_path, SOURCE + 'ca_file = "ca.pem"\n')
    assert (fault.key, fault.found) == ("ca_file", "found 'ca.pem'")


WRONG = """
[source.typo]
plugin = "prometheus"

[defaults]
timeout = "soon"

[metrics.disk]
unit = "parsecs"

[slos.fast]
service = "checkout"
metric = "latencyy_p95"

[sources.a]
plugin = "promethues"

[sources.b]
plugin = "./acme.py"
url = "ftp://127.0.0.1"
dsn = "${ACME_DSN}"
max_concurency = 3
metrics.warp = "warp_factor"

[sources.c]
plugin = "./acme.py"
url = "http://127.0.0.1:1"
dsn = "d"
timeout = "1 fortnight"
metrics.cpu = { querry = "up", unit = "percent" }

[sources.d]
plugin = "./acme.py"
url = "http://127.0.0.1:1"
dsn = "d"
metrics.warp = "warp_factor"

[sources.e]
plugin = "./not_there.py"

[sources.f]
url = "http://127.0.0.1:1"
"""


def test_everything_that_is_wrong_is_in_one_report(tmp_path: Path) -> None:
    found = {(p.table, p.key): f"{p.found}. {p.valid}" for p in problems(tmp_path, WRONG)}
    expected = {
        ("source", ""): "no such table. Valid: [defaults], [metrics], [sources]",
        ("defaults", "timeout"): "found 'soon'. not a duration; write a number and a unit",
        ("metrics.disk", "unit"): "found 'parsecs'. not a unit that is known",
        ("slos.fast", "metric"): "found 'latencyy_p95'. It is no metric; did you mean 'latency_p95'? Valid: ",
        (
            "sources.a",
            "plugin",
        ): "found 'promethues'. no plugin is installed under that name; did you mean 'prometheus'?",
        ("sources.b", "dsn"): "the variable ACME_DSN is not set. Set it, or write optional = true",
        ("sources.b", "url"): "found 'ftp://127.0.0.1'. URL scheme should be 'http' or 'https'",
        ("sources.b", "max_concurency"): "no such key. Did you mean 'max_concurrency'? Valid: allow_native, ",
        ("sources.c", "timeout"): "found '1 fortnight'. not a duration",
        ("sources.c", "metrics.cpu.querry"): "no such key. Did you mean 'query'? Valid: query, unit",
        ("sources.c", "metrics.cpu.query"): "is missing.",
        ("sources.d", "metrics.warp"): "is not in the catalog. Declare it as [metrics.warp]; Valid: ",
        ("sources.e", "plugin"): "found './not_there.py'. no such file: ",
        ("sources.f", "plugin"): "is missing. Installed: ",
    }
    assert found.keys() == expected.keys()
    for place, beginning in expected.items():
        assert found[place].startswith(beginning), place


def test_a_report_names_file_table_and_key(tmp_path: Path) -> None:
    problem = only(tmp_path, SOURCE + "pages = 'many'")
    assert str(problem).startswith(
        f"{tmp_path / FILE_NAME}: [sources.a] pages: found 'many'. Input should be a valid integer"
    )


def test_a_key_that_is_missing_says_what_it_is(tmp_path: Path) -> None:
    problem = only(tmp_path, '[sources.a]\nplugin = "./acme.py"\ndsn = "d"')
    assert (problem.key, problem.found, problem.valid) == ("url", "is missing", "It is the base URL of the API")


@pytest.mark.parametrize(
    ("text", "table", "key"),
    [
        ("defaults = 3", "defaults", ""),
        ("sources = 3", "sources", ""),
        ("[sources]\na = 'prometheus'", "sources", "a"),
        ("[metrics]\ncpu = 'percent'", "metrics", "cpu"),
        ("[cache]\nlive = '-3s'", "cache", "live"),
        ("[defaults]\nlookback = 0", "defaults", "lookback"),
        ("[defaults]\nmax_points = true", "defaults", "max_points"),
        ("[slos.a]\nservice = 'x'\nmetric = 'cpu'\nobjective = 101", "slos.a", "objective"),
        ("[slos.a]\nservice = 'x'\nmetric = 'cpu'\nobjective = 99.99999", "slos.a", "objective"),
        ("[slos.a]\nservice = 'x'\nmetric = 'latency_p99'", "slos.a", "threshold"),
        ("[slos.a]\nservice = 'x'\nmetric = 'cpu'\nwindow = '91d'", "slos.a", "window"),
        ("[server]\nport = 70000", "server", "port"),
        ("defaults = '${NOPE}'", "defaults", ""),
        ("[metrics.cpu]\nwarning = nan", "metrics.cpu", "warning"),
        ("[metrics.cpu]\ncritical = inf", "metrics.cpu", "critical"),
        ("[defaults]\ndeadline = '61s'", "defaults", "deadline"),
        ("[cache]\nmax_mb = 0", "cache", "max_mb"),
        (SOURCE + "metrics.cpu = { query = 'q', unit = 'parsec' }", "sources.a", "metrics.cpu.unit"),
    ],
)
def test_a_value_of_the_wrong_kind_is_reported_at_its_place(
    tmp_path: Path, text: str, table: str, key: str
) -> None:
    problem = only(tmp_path, text)
    assert (problem.table, problem.key) == (table, key)


def test_an_objective_may_reach_as_far_as_the_look_back_and_bring_its_own_threshold(tmp_path: Path) -> None:
    text = '[slos.a]\nservice = "x"\nmetric = "latency_p99"\nthreshold = 9\nwindow = "90d"\nobjective = 99.9999'
    assert config(tmp_path, text).problems == []


@pytest.mark.parametrize(
    ("text", "table", "key"),
    [
        ('[metrics.load]\nkey = "cpu_percent"', "metrics.load", "key"),
        ('[metrics.load]\naliases = ["cpu_percent"]', "metrics.load", "aliases"),
        ('[metrics.load]\naliases = ["cpu"]', "metrics.load", "aliases"),
        ("[metrics.cpu_percent]", "metrics.cpu_percent", ""),
    ],
)
def test_a_name_that_means_two_metrics_is_reported_with_both(
    tmp_path: Path, text: str, table: str, key: str
) -> None:
    problem = only(tmp_path, text)
    assert (problem.table, problem.key) == (table, key)
    assert "of cpu already" in problem.found
    assert "[metrics.cpu]" in problem.valid


def test_an_alias_of_two_metrics_is_reported(tmp_path: Path) -> None:
    problem = only(tmp_path, '[metrics.a]\naliases = ["x"]\n[metrics.b]\naliases = ["x"]')
    assert (problem.table, problem.found) == ("metrics.b", "'x' is a name, key or alias of a already")


def test_two_sources_of_one_name_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*twice.* two sources of one name"):
        config(tmp_path, SOURCE + SOURCE)


def test_what_is_not_toml_is_one_problem_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML: .*line 2") as raised:
        config(tmp_path, "[defaults]\ntimeout =\n")
    assert raised.value.problems[0].valid == ""


def test_what_is_not_text_or_not_a_file_is_one_problem(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        read(tmp_path / FILE_NAME, {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path, {})


# ---- secrets

LITERAL = "hunter2-in-the-file"


@pytest.mark.parametrize(
    "line",
    [
        f'dsn = ["{LITERAL}"]',
        f'dsn = "d"\nbearer_token = ["{LITERAL}"]',
        f'dsn = "d"\npages = "1"\napi_kay = "{LITERAL}"',
        f'dsn = "d"\npassword = {{ a = "{LITERAL}" }}',
        f'dsn = "d"\nheaders.Authorization = ["{LITERAL}"]',
        f'dsn = "d"\nheaders = "{LITERAL}"',
        f'dsn = "d"\nusername = "u"\npassword = "{LITERAL}"\nbearer_token = "{LITERAL}"',
        f'dsn = "d"\nproxy = "socks5://u:{LITERAL}@127.0.0.1:1"',
        f'dsn = "d"\nbearer_token = {{ a = "${{NONE:-{LITERAL}}}" }}',
        f'dsn = "d"\nheaders = "Bearer {LITERAL} ${{NONE:-x}}"',
    ],
)
def test_a_secret_written_into_the_file_is_in_no_report(tmp_path: Path, line: str) -> None:
    text = f'[sources.a]\nplugin = "./acme.py"\nurl = "http://127.0.0.1:1"\n{line}\n'
    assert LITERAL not in repr(problems(tmp_path, text))


def test_a_secret_is_known_by_its_kind_whatever_it_is_called(tmp_path: Path) -> None:
    problem = only(tmp_path, SOURCE.replace('"d"', "998877665544"))
    assert (problem.key, problem.found) == ("dsn", "is wrong")


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    problem = only(tmp_path, SOURCE.replace("127.0.0.1", f"u:{LITERAL}@127.0.0.1"))
    assert (problem.key, problem.found) == ("url", "is wrong")
    assert "username and password" in problem.valid


def test_a_secret_among_the_tables_is_not_repeated(tmp_path: Path) -> None:
    assert LITERAL not in repr(only(tmp_path, f"[sources]\ndatadog = '{LITERAL}'"))


def test_a_secret_from_the_environment_is_in_no_report(tmp_path: Path) -> None:
    text = SOURCE + 'pages = "${PAGES}"\n[sources.a.headers]\nX-Key = { a = "${TOKEN}" }'
    found = problems(tmp_path, text, {"PAGES": "env-value", "TOKEN": LITERAL})
    assert "env-value" not in repr(found)
    assert LITERAL not in repr(found)
    assert "'${PAGES}'" in repr(found)


# ---- placeholders


def values(folder: Path, text: str, environ: Mapping[str, str]) -> Mapping[str, object]:
    (table,) = config(folder, f"[sources.a]\n{text}", environ).sources
    return table.values


def test_placeholders_are_filled_from_the_environment_or_their_default(tmp_path: Path) -> None:
    text = 'a = "${A}"\nb = "${B:-http://b:1}"\nc = "x-${A}-${B:-}"\nd = [{ e = "${A:-no}" }]\nf = 3'
    assert values(tmp_path, text, {"A": "1", "B": ""}) == {
        "a": "1",
        "b": "http://b:1",
        "c": "x-1-",
        "d": [{"e": "1"}],
        "f": 3,
    }


def test_a_file_is_read_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n", encoding="utf-8")
    text = 'a = "file:token"\nb = "file:${DIR}/token"'
    assert values(tmp_path, text, {"DIR": str(tmp_path)}) == {"a": "t0ken", "b": "t0ken"}


def test_a_file_that_cannot_be_read_is_reported_by_name(tmp_path: Path) -> None:
    problem = only(tmp_path, SOURCE.replace('"d"', '"file:no/token"'))
    assert (problem.key, problem.found) == ("dsn", "file:no/token cannot be read")


def test_each_missing_variable_is_named_once(tmp_path: Path) -> None:
    text = '[sources.a]\nplugin = "./acme.py"\nurl = "${URL}"\ndsn = "${DSN}-${DSN}-${OTHER}"'
    found = problems(tmp_path, text)
    assert [(p.key, p.found) for p in found] == [
        ("url", "the variable URL is not set"),
        ("dsn", "the variable DSN is not set"),
        ("dsn", "the variable OTHER is not set"),
    ]


def test_grafanas_placeholders_in_queries_are_left_alone(tmp_path: Path) -> None:
    query = 'rate(cpu{service=~"$service"}[$__range])'
    registry = loaded(tmp_path, SOURCE + f"metrics.cpu = '{query}'")
    assert registry["a"].source.settings.metrics["cpu"].query == query


def test_an_optional_source_without_its_variables_is_off_and_not_wrong(tmp_path: Path) -> None:
    text = SOURCE.replace('"d"', '"${ACME_DSN}"') + "optional = true\n"
    registry = loaded(tmp_path, text)
    (absent,) = registry.absent
    assert registry.instances == ()
    assert (absent.name, absent.broken, absent.reason) == ("a", False, "ACME_DSN not set")
    assert "set ACME_DSN" in absent.fix
    assert [i.name for i in loaded(tmp_path, text, {"ACME_DSN": "d"}).instances] == ["a"]


# ---- what it makes


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    made = config(tmp_path, "")
    assert (made.defaults.timeout, made.defaults.deadline, made.defaults.max_points) == (8, 10, 60)
    assert (made.cache.live, made.cache.closed, made.server.host) == (10, 300, "127.0.0.1")
    assert "cpu" in made.catalog
    assert load(made).instances == ()


def test_a_metric_is_changed_in_part_or_added(tmp_path: Path) -> None:
    made = config(tmp_path, '[metrics.cpu]\nwarning = 50\n[metrics.queue]\nunit = "count"\naliases = ["lag"]')
    assert (made.catalog["cpu"].warning, made.catalog["cpu"].critical) == (50, 90)
    assert made.catalog.resolve("lag") == "queue"
    assert made.problems == []


def test_an_objective_may_name_a_metric_by_its_alias(tmp_path: Path) -> None:
    made = config(tmp_path, '[slos.fast]\nservice = "checkout"\nmetric = "latency"\nwindow = "7d"')
    assert (made.objectives["fast"].window, made.problems) == (604800, [])


@pytest.mark.parametrize(
    ("written_as", "seconds"), [('"500ms"', 0.5), ('"8s"', 8), ('"1h30m"', 5400), ('"2w"', 1209600), ("2.5", 2.5)]
)
def test_durations_are_written_with_their_unit(tmp_path: Path, written_as: str, seconds: float) -> None:
    assert config(tmp_path, f"[defaults]\ntimeout = {written_as}").defaults.timeout == seconds


@pytest.mark.parametrize("written_as", ['"8"', '"8 s"', '"s8"', '""', "0", "-1", "inf", "nan", "true", '"1s!"'])
def test_what_is_no_duration_is_refused(tmp_path: Path, written_as: str) -> None:
    assert only(tmp_path, f"[defaults]\ntimeout = {written_as}").key == "timeout"


# ---- where it is


def test_the_first_file_in_the_order_of_looking_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, user = tmp_path / "here", tmp_path / "user"
    given, named = tmp_path / "given.toml", tmp_path / "named.toml"
    for path in (given, named, here / FILE_NAME, user / "telemetry-mcp" / FILE_NAME):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    monkeypatch.chdir(here)
    home = {"XDG_CONFIG_HOME": str(user), "APPDATA": str(user)}
    environ = {**home, "TELEMETRY_MCP_CONFIG": str(named)}
    assert locate(given, environ) == given
    assert locate(None, environ) == named
    assert locate(None, home).resolve() == here / FILE_NAME
    (here / FILE_NAME).unlink()
    assert locate(None, home) == user / "telemetry-mcp" / FILE_NAME
    (user / "telemetry-mcp" / FILE_NAME).unlink()
    with pytest.raises(ConfigError, match=r"plugins\.toml or .*telemetry-mcp.*no such file.*--demo"):
        locate(None, home)


def test_a_file_that_was_named_is_not_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE_NAME).write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        locate(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        locate(None, {"TELEMETRY_MCP_CONFIG": "absent.toml"})
