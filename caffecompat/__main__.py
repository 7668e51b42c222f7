"""``python -m caffecompat`` is the command line."""

import sys

from caffecompat.cli.main import main

sys.exit(main())
