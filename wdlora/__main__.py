"""`python -m wdlora COMMAND …`"""

import sys

from wdlora.cli import main

if __name__ == "__main__":
    sys.exit(main())
