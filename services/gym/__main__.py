"""Runs the gym service: python -m services.gym."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.gym.app import SERVICE

main(SERVICE)
