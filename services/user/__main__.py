"""Runs the user service: python -m services.user."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.user.app import SERVICE

main(SERVICE)
