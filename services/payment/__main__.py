"""Runs the payment service: python -m services.payment."""

import gc

gc.disable()  # until all is loaded: `main` enables it

from mesh.process import main
from services.payment.app import SERVICE

main(SERVICE)
