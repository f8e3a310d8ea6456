"""The demo estate's emulators in a process of their own, each answer delayed by the given seconds: prints their
variables as JSON, ends with its stdin."""

from __future__ import annotations

import json
import sys

from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.fault import Fault

with Emulators() as estate:
    if delay_s := float(sys.argv[1]):
        for faults in estate.faults.values():
            faults.set("/", Fault("delay", seconds=delay_s))
    sys.stdout.write(json.dumps(dict(estate.environ)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
