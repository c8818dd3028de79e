"""Runs the session service: python -m services.session."""

from mesh.process import main
from services.session.app import SERVICE

main(SERVICE)
