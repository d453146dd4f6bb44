"""`python -m memsessions` is the command `memsessions`."""

import sys

from .cli import main

sys.exit(main())
