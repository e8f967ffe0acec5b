"""Commands typed one after the other in one process, which loads Dagster once for all of them.

The order is JSON on standard input: a list of [name, settings, command]. Each command's output ends with a line
`=== name: exit code`. Settings are set for their command alone.
"""

import json
import os
import sys
import traceback

from kapman_resources.settings import settings


def main() -> None:
    """Run what is ordered; a command that replaces the process, such as psql, is the last."""
    for name, own, (program, *arguments) in json.load(sys.stdin):
        before = dict(os.environ)
        os.environ.update(own)
        settings.cache_clear()
        sys.argv = [program, *arguments]
        code = _run(program)
        sys.stdout.write(f"=== {name}: exit {code}\n")
        sys.stdout.flush()
        os.environ.clear()
        os.environ.update(before)


def _run(program: str) -> int:
    if program == "kapman":
        from kapman_cli.main import main as entry
    else:
        from dagster._cli import main as entry
    try:
        entry()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
