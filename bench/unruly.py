"""The demo estate's emulators in a process of their own, of which New Relic never answers and Datadog comes and
goes: prints their variables as JSON, ends with its stdin."""

from __future__ import annotations

import itertools
import json
import sys
import threading

from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.fault import Fault

FLAP_S = 3.0


def flap(estate: Emulators, ended: threading.Event) -> None:
    for down in itertools.cycle((True, False)):
        if ended.wait(FLAP_S):
            return
        if down:
            estate.faults["datadog"].set("/", Fault("status", code=503))
        else:
            estate.faults["datadog"].clear()


with Emulators() as running:
    running.faults["newrelic"].set("/", Fault("hang"))
    over = threading.Event()
    flapping = threading.Thread(target=flap, args=[running, over])
    flapping.start()
    sys.stdout.write(json.dumps(dict(running.environ)) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    over.set()
    flapping.join()
