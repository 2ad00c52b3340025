"""Sends what the API's description allows, and what it does not, to a running system, by schemathesis.

    conformance.py DOCUMENT PORTAL ACCESS_TOKEN FOLDER IDS

IDS is a JSON object of examples by schema (`{"AccountId": "33…"}`), so that what is asked for is there. Ends with status
1 where an answer is a server's error or not as described; what was sent is in the output.
"""

import json
import subprocess
import sys
from pathlib import Path

# The time for everything, in seconds; with the seed it is the same every time as far as it comes.
WITHIN_S = "60"
SEED = "20260825"
# What a schema cannot say (check digits, ids that must exist, codes that must be right) is refused all the same.
NOT_CHECKED = "positive_data_acceptance"
# Ends the session that all others need.
NOT_CALLED = "session_end"


def main():
    document, portal, token, folder, ids = sys.argv[1:]
    described = json.loads(Path(document).read_text())
    for name, example in json.loads(ids).items():
        described["components"]["schemas"][name]["examples"] = [example]
    own = Path(folder) / "openapi.json"
    own.write_text(json.dumps(described))
    program = Path(sys.executable).with_name("schemathesis")
    settings = Path(__file__).with_name("schemathesis.toml")
    command = [program, "--config-file", settings, "run", own, "--url", portal, "--header", f"Authorization: Bearer {token}"]
    command += ["--seed", SEED, "--max-time", WITHIN_S, "--max-examples", "8", "--checks", "all"]
    command += ["--exclude-checks", NOT_CHECKED, "--exclude-operation-id", NOT_CALLED]
    command += ["--warnings", "off", "--no-color"]
    return subprocess.run(command, cwd=folder, check=False).returncode


sys.exit(main())
