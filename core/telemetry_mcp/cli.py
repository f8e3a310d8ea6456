"""The commands. What each needs is imported when it runs: a client waits for `serve` to start."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer
from typer.core import TyperGroup

from telemetry_mcp.terminal.key_command import keys
from telemetry_mcp.terminal.option import AsJson, ConfigPath, Demo, Faults, configure_log, target_of

if TYPE_CHECKING:
    from mcp.types import CallToolResult

    from telemetry_mcp.terminal.finding import Report
    from telemetry_mcp.terminal.target import CommandError

CODES = """Exit codes: 0 answered, also when some source did not (stderr says which);
1 the tool cannot answer, a source has a fault, or the port is taken;
2 the configuration or the command line is wrong; 130 interrupted."""
VERIFY_CODES = """Exit codes: 0 every record is as it was written;
1 one was tampered with or is missing, or the key to tell is not here;
2 a file cannot be read, plugins.toml or the command line is wrong; 130 interrupted."""
DOCTOR_CODES = """Exit codes: 0 no source has a fault, though there may be warnings;
1 a source has a fault, or no source is on;
2 plugins.toml or the command line is wrong; 130 interrupted."""


class Commands(TyperGroup):
    """Ends a command on what is raised on purpose: its words on stderr, an exit code, no traceback."""

    def invoke(self, ctx: Any) -> Any:
        from telemetry_mcp.errors import ConfigError, TelemetryError

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except ConfigError as error:
            typer.echo(error, err=True)
            raise typer.Exit(2) from None
        except TelemetryError as error:
            typer.echo(error, err=True)
            raise typer.Exit(getattr(error, "code", 1)) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
plugins = typer.Typer(no_args_is_help=True, help="The plugins that are installed, and the sources they serve.")
app.add_typer(plugins, name="plugins")
app.add_typer(keys, name="keys")
audit = typer.Typer(no_args_is_help=True, help="The records of what was asked.")
app.add_typer(audit, name="audit")

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="default: [server] in plugins.toml, 8000")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], typer.Option("--log-level", help="of the log on stderr")
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option("--log-format", envvar="TELEMETRY_MCP_LOG_FORMAT", help="of the log on stderr; json: ECS"),
]


def version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"telemetry-mcp {version('telemetry-mcp')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="and exit")] = False,
    trace: Annotated[bool, typer.Option("--trace", help="say every hook call of a plugin on stderr")] = False,
) -> None:
    """One MCP endpoint over all the telemetry a team has."""
    if trace:
        from telemetry_mcp import log

        log.trace()


@app.command(epilog=CODES)
def serve(
    transport: Annotated[Literal["stdio", "http"], typer.Option()] = "stdio",
    host: Annotated[str | None, typer.Option(help="default: [server] in plugins.toml, 127.0.0.1")] = None,
    port: Port = None,
    config: ConfigPath = None,
    demo: Demo = False,
    fault: Faults = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="listen on other than loopback without authentication")
    ] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
) -> None:
    """Serve MCP, on stdio for a client that starts it or on HTTP."""
    target = target_of(config, demo, fault, log_level, log_format)
    from telemetry_mcp.terminal import serve

    with target.configured() as found:
        if transport == "stdio":
            serve.stdio(found)
        else:
            serve.http(found, host, port, insecure=insecure)


@app.command(epilog=CODES)
def call(
    tool: Annotated[str, typer.Argument(help="list_services, get_current_metrics, ...")],
    pairs: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="a list: JSON, or with commas")
    ] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    demo: Demo = False,
    fault: Faults = None,
    timeout: Annotated[float | None, typer.Option(help="longest wait for the sources, in seconds")] = None,
) -> None:
    """Ask one tool: telemetry-mcp call get_current_metrics service=payment-processor"""
    target = target_of(config, demo, fault)
    from telemetry_mcp.terminal import call
    from telemetry_mcp.terminal.ending import ending

    call.split(pairs or [])
    with ending() as end, target.configured() as found:
        call.ask(found, tool, pairs or [], timeout, lambda got: end.tell(lambda out: answered(got, out, as_json)))
    raise typer.Exit(end.code)


def answered(answer: CallToolResult | CommandError, out: TextIO, as_json: bool) -> int:
    """Write what a call brought, on stderr what it does not stand on; returns the exit code."""
    from telemetry_mcp.terminal.call import said
    from telemetry_mcp.terminal.target import CommandError

    if isinstance(answer, CommandError):
        typer.echo(answer, err=True)
        return answer.code
    fields = answer.structured_content
    if fields is None:
        typer.echo(said(answer), err=True)
    elif as_json:
        typer.echo(json.dumps(fields, ensure_ascii=False), file=out)
    else:
        show(fields, out)
    cover = (fields or {}).get("coverage")
    if cover and not cover["complete"]:
        typer.echo(cover["note"], err=True)
    return 1 if answer.is_error else 0


def show(fields: dict[str, Any], stream: TextIO) -> None:
    from telemetry_mcp.terminal.table import answer, ascii_only, console

    out = console(stream)
    for item in answer(fields, plain=ascii_only(out)):
        out.print(item)


@app.command(epilog=DOCTOR_CODES)
def doctor(
    as_json: AsJson = False,
    config: ConfigPath = None,
    demo: Demo = False,
    fault: Faults = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="NAME", help="only this one; may be repeated")
    ] = None,
) -> None:
    """Examine every source: the way to it, its certificate, permissions, clock, metrics; and say what to do."""
    target = target_of(config, demo, fault, "error")
    from telemetry_mcp.terminal import doctor
    from telemetry_mcp.terminal.ending import ending

    if as_json:
        display = doctor.silent
    else:
        from telemetry_mcp.terminal.progress import shown as display
    with ending() as end, target.configured() as found:

        def tell(report: Report) -> None:
            end.tell(lambda out: diagnosed(report, out, as_json))

        doctor.examine(found, tell, only=source or (), display=display)
    raise typer.Exit(end.code)


def diagnosed(report: Report, out: TextIO, as_json: bool) -> int:
    """Write what doctor found; returns the exit code."""
    if as_json:
        from telemetry_mcp.terminal.doctor import document

        typer.echo(json.dumps(document(report), ensure_ascii=False), file=out)
    else:
        from telemetry_mcp.terminal.table import console
        from telemetry_mcp.terminal.verdict import show

        show(report, console(out))
    return report.code


@plugins.command("list", epilog=CODES)
def list_plugins(as_json: AsJson = False, config: ConfigPath = None, demo: Demo = False) -> None:
    """Every plugin: what it hands over, whether plugins.toml switches it on, and why not. Connects to nothing."""
    target = target_of(config, demo, None)
    from telemetry_mcp.terminal import plugin
    from telemetry_mcp.terminal.ending import ending

    def report(folder: Path, sources: list[plugin.Configured] | None, out: TextIO) -> int:
        listed = plugin.document(folder, sources)
        if as_json:
            typer.echo(json.dumps(listed, ensure_ascii=False), file=out)
            return 0
        from telemetry_mcp.terminal.table import console, table

        screen = console(out)
        for rows in (listed["plugins"], listed["sources"]):
            if rows:
                screen.print(table(rows))
                screen.print()
        if sources is None:
            typer.echo("no plugins.toml: no source is configured", err=True)
        return 0

    with ending() as end, target.configured_if_any() as found:
        if found is None:
            end.tell(lambda out: report(Path(), None, out))
        else:
            folder = found.path.parent
            plugin.configured(found, lambda sources: end.tell(lambda out: report(folder, sources, out)))
    raise typer.Exit(end.code)


@plugins.command("new", epilog=CODES)
def new_plugin(
    name: Annotated[str, typer.Argument(help="of the package and of the plugin, such as acme-zabbix")],
    into: Annotated[Path, typer.Option("--into", help="the folder that the package's own is made in")] = Path(),
) -> None:
    """Write a small working source with its settings, tests on the contract, README and entry point."""
    from telemetry_mcp.terminal import scaffold

    for path in scaffold.write(name, into):
        typer.echo(path)
    typer.echo(
        f"next: cd {into / name} && pip install -e . 'telemetry-mcp[testing]' && python -m pytest", err=True
    )


@audit.callback()
def audit_options() -> None:
    """The records of what was asked."""


@audit.command("verify", epilog=VERIFY_CODES)
def verify_audit(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="records, one a line; .gz too")],
    headless: Annotated[
        bool, typer.Option("--headless", help="the oldest files are gone: a missing beginning is no fault")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
) -> None:
    """Whether audit records are as they were written: none changed, removed, reordered or put in. The key and the
    spool are those of plugins.toml."""
    target = target_of(config, False, None)
    from telemetry_mcp.terminal import audit

    with target.configured_if_any() as found:
        report = audit.verified(files, found, headless=headless)
    if as_json:
        typer.echo(json.dumps(audit.document(report), ensure_ascii=False))
    else:
        for line in audit.told(report):
            typer.echo(line)
    raise typer.Exit(0 if report.ok else 1)


@app.command(epilog=CODES)
def connect(
    client: Annotated[Literal["claude-desktop", "claude-code", "cursor"], typer.Argument()],
    write: Annotated[bool, typer.Option("--write", help="merge it into the client's own file")] = False,
    config: ConfigPath = None,
    demo: Demo = False,
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="a server that runs already, in place of one to start")
    ] = None,
) -> None:
    """Print what makes an MCP client use this server, or write it into the client's file."""
    from telemetry_mcp.terminal import connect

    made = connect.run(client, config, demo=demo, url=http, write=write)
    typer.echo(made.text)
    for note in made.notes:
        typer.echo(note, err=True)


@app.command(epilog=CODES)
def demo(
    serve: Annotated[bool, typer.Option("--serve", help="go on as an MCP endpoint on HTTP")] = False,
    port: Port = None,
    incident: Annotated[bool, typer.Option("--incident", help="play one incident and investigate it")] = False,
    seed: Annotated[int, typer.Option(help="of the simulated estate, or of the incident")] = 7,
    fault: Faults = None,
    no_color: Annotated[bool, typer.Option("--no-color")] = False,
) -> None:
    """Five example conversations with a simulated estate of eight services behind four vendors' APIs."""
    configure_log("error")
    from telemetry_mcp.terminal.demo import run
    from telemetry_mcp.terminal.target import Target

    target = Target(demo=True, faults=tuple(fault or ()), seed=seed, incident=incident)
    run(target, serve=serve, port=port, color=not no_color)


def run() -> None:
    """The program: what a terminal or a file cannot show in its encoding is replaced, not fatal."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    from telemetry_mcp.terminal.ending import LAST_S, end_within

    try:
        app(prog_name="telemetry-mcp")
    except SystemExit as ended:
        # A thread that a plugin left blocked would keep the interpreter.
        end_within(LAST_S, ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise
