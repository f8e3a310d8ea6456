"""`telemetry-mcp`, and `python -m telemetry_mcp`."""

from telemetry_mcp.cli import run


def main() -> None:
    run()


if __name__ == "__main__":
    main()
