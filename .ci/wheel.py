"""The wheel's top-level names all begin with telemetry_mcp: it must not lie on anybody else's packages."""

import sys
import zipfile

names = {name.partition("/")[0] for name in zipfile.ZipFile(sys.argv[1]).namelist()}
strangers = sorted(name for name in names if not name.startswith("telemetry_mcp"))
if strangers:
    sys.exit(f"the wheel installs top-level names that are not ours: {strangers}")
print("wheel:", ", ".join(sorted(names)))
