"""Runs the payment service: python -m services.payment."""

from mesh.process import main
from services.payment.app import SERVICE

main(SERVICE)
