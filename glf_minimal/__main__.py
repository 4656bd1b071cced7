"""``python -m glf_minimal`` is ``glf``."""

from glf_minimal.cli import main

main()
