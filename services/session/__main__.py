"""Runs the session service: python -m services.session."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.session.app import SERVICE

main(SERVICE)
