"""`python -m embark`: the command line."""

import sys

from embark.cli import main

sys.exit(main())
