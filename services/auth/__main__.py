"""Runs the auth service: python -m services.auth."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.auth.app import SERVICE

main(SERVICE)
