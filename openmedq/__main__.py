"""`python -m openmedq`: the command line."""

import os
import sys

from openmedq.cli import main

if __name__ == "__main__":
    if sys.getfilesystemencoding() != "utf-8":  # names of published files are UTF-8, whatever the locale is
        os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "openmedq", *sys.argv[1:]])
    sys.exit(main())
