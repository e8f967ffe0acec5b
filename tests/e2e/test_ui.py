"""A person at the browser: the lineage, a repave by clicking, a check's evidence, one partition by clicking.

Drives Debian's chromium through Playwright against `kapman ui`, with a small simulated market. The
screenshots land in test-artifacts/.
"""
