"""``python -m pems``."""

from pems.cli import main

if __name__ == "__main__":
    main()
