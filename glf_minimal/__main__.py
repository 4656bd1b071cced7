"""``python -m glf_minimal`` is ``glf``."""

from glf_minimal.cli import main

if __name__ == "__main__":
    main()
