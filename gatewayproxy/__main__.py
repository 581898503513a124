"""`python -m gatewayproxy`."""

import sys

from gatewayproxy.cli import main

sys.exit(main())
