"""Runs the user service: python -m services.user."""

from mesh.process import main
from services.user.app import SERVICE

main(SERVICE)
