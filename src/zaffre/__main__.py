"""The `zaffre` command, also as `python -m zaffre`; the base install says what it lacks."""

import sys
from importlib import import_module


def main() -> None:
    """Run the command line, where its libraries are installed."""
    try:
        command_line = import_module("zaffre.cli.main")
    except ModuleNotFoundError as missing:
        sys.exit(f"zaffre: '{missing.name}' is not installed: pip install 'zaffre[server]'")
    command_line.main()


if __name__ == "__main__":
    main()
