"""How fast, how much memory, against what: `python -m benchmarks --help`."""
