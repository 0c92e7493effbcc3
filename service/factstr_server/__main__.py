"""`python -m factstr_server` is `factstr-server`."""

import sys

from factstr_server.cli import main

sys.exit(main())
