"""backup.py DIRECTORY TARGET: back a store up to a file and say so."""

import sys

from tiered import FileTier

tier = FileTier(sys.argv[1])
tier.backup(sys.argv[2])
print("acknowledged", flush=True)
tier.close()
