"""`python -m technopay.cli` is the `technopay` command."""

from technopay.cli.main import run

if __name__ == "__main__":
    run()
