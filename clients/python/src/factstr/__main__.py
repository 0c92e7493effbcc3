"""Makes `python -m factstr` the command `factstr`."""

import sys

from factstr.cli import main

sys.exit(main())
