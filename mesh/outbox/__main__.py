"""Additional relay for one service, with that service's settings and key: python -m mesh.outbox session."""

import sys
from functools import partial

from mesh.loading import loading

with loading():
    from mesh.config import SERVICE_NAMES
    from mesh.serving.process import relaying_alone, run

match sys.argv[1:]:
    case [name] if name in SERVICE_NAMES:
        run(name, partial(relaying_alone, name))
    case _:
        sys.exit(f"usage: python -m mesh.outbox {{{','.join(SERVICE_NAMES)}}}")
