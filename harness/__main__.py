"""`python -m harness` is `tailrace`."""

from harness.cli import main

main()
