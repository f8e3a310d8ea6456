"""`telemetry-mcp`, and `python -m telemetry_mcp`."""

import gc


def main() -> None:
    # What start-up imports is there for good: looking for garbage among it meanwhile costs a tenth of the start.
    # Whoever serves switches the collector on again (terminal/target.py).
    gc.disable()
    from telemetry_mcp.cli import run

    run()


if __name__ == "__main__":
    main()
