"""The commands on keys. What they need is imported when they run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from telemetry_mcp.terminal.option import AsJson, ConfigPath, target_of

keys = typer.Typer(no_args_is_help=True, help="The keys with which service accounts ask over HTTP.")

KEY_CODES = """Exit codes: 0 done; 1 it cannot be done, or the file of keys cannot be used;
2 plugins.toml or the command line is wrong."""
Expires = Annotated[str | None, typer.Option("--expires", metavar="SPAN", help="until it ends, such as 90d")]
Account = Annotated[str, typer.Argument(help="of the service account")]


@keys.command("create", epilog=KEY_CODES)
def create_key(
    name: Account,
    role: Annotated[list[str], typer.Option("--role", help="viewer, responder, ...; may be repeated")],
    expires: Expires = None,
    config: ConfigPath = None,
) -> None:
    """Make a key for a new service account. It is printed on stdout, this once."""
    target = target_of(config, False, None)
    from telemetry_mcp.terminal import key

    with target.configured() as found:
        made, text = key.create(found, name, role, expires)
    hand_over(text, f"the key {made.id} of {name} works until {key.shown(made.expires)}")


def hand_over(text: str, told: str) -> None:
    """The key alone on stdout; what is to be known of it beside."""
    typer.echo(text)
    typer.echo(f"{told}; it is not shown again", err=True)


@keys.command("list", epilog=KEY_CODES)
def list_keys(as_json: AsJson = False, config: ConfigPath = None) -> None:
    """Every key: whose it is, its roles, and how it stands. Never the key itself."""
    target = target_of(config, False, None)
    from telemetry_mcp.terminal import key

    with target.configured() as found:
        rows = key.rows(found)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    elif rows:
        from telemetry_mcp.terminal.table import console, table

        console().print(table([key.in_brief(row) for row in rows]))
    else:
        typer.echo("there are no keys; make one with: telemetry-mcp keys create NAME --role viewer", err=True)


@keys.command("rotate", epilog=KEY_CODES)
def rotate_key(
    name: Account,
    expires: Expires = None,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="how long the one before it goes on (default: 7d)")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Make a new key with the same roles; the one before it goes on for a while, so that both work meanwhile."""
    target = target_of(config, False, None)
    from telemetry_mcp.terminal import key

    with target.configured() as found:
        made, text = key.rotate(found, name, expires, overlap)
    hand_over(text, f"the key {made.id} of {name} works until {key.shown(made.expires)}")


@keys.command("revoke", epilog=KEY_CODES)
def revoke_key(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="a service account, or one of its keys")],
    config: ConfigPath = None,
) -> None:
    """End one key, or all keys of a service account. Servers that run refuse it within two seconds."""
    target = target_of(config, False, None)
    from telemetry_mcp.terminal import key

    with target.configured() as found:
        ended = key.revoke(found, which)
    for each in ended:
        typer.echo(f"the key {each.id} of {each.name} is revoked", err=True)
    if not ended:
        typer.echo(f"{which} was revoked before", err=True)
