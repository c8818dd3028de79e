"""Runs the communication service: python -m services.communication."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.communication.app import SERVICE

main(SERVICE)
