"""What takes long to import, imported once by the process that forks the simulators of a test session.

Polars is left out on purpose: it starts threads, and a process with threads must not be forked.
"""

import kapman_simulator.vendor  # noqa: F401
from kapman_simulator.sessions import all_sessions

all_sessions()
