"""Runs the auth service: python -m services.auth."""

from mesh.process import main
from services.auth.app import SERVICE

main(SERVICE)
