"""Run the command line as `python -m recsys`."""

from recsys.cli import main

main()
