"""Lets `python -m segwright` be the command."""

from segwright.cli import main

if __name__ == "__main__":
    main()
