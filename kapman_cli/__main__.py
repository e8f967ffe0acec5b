"""`python -m kapman_cli`: the command without its script, for processes that we start ourselves."""

from kapman_cli.main import main

main()
