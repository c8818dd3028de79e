"""Runs the subscription service: python -m services.subscription."""

from mesh.process import main
from services.subscription.app import SERVICE

main(SERVICE)
