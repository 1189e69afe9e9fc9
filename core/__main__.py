"""`python -m labelspace` is the command line."""

from labelspace.cli import main

if __name__ == "__main__":
    main()
