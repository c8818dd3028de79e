"""Runs the subscription service: python -m services.subscription."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.subscription.app import SERVICE

main(SERVICE)
