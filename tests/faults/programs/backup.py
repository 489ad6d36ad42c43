"""backup.py DIRECTORY TARGET: back a store up to a file, by one whose name is known, and say so."""

import sys

from tiered import FileTier
from tiered.tiers import file_backup

file_backup.secrets.token_hex = lambda _: "00000000"

tier = FileTier(sys.argv[1])
tier.backup(sys.argv[2])
print("acknowledged", flush=True)
tier.close()
