"""`python -m bankai` is the `bankai` command."""

from bankai.cli.main import main

if __name__ == "__main__":
    main()
