"""restore.py BACKUP DIRECTORY: put a directory back to a backup and say so."""

import sys
from pathlib import Path

from tiered.tiers.file_restore import restore

restore(Path(sys.argv[1]), Path(sys.argv[2]))
print("acknowledged", flush=True)
