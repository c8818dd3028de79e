"""Runs the gym service: python -m services.gym."""

from mesh.process import main
from services.gym.app import SERVICE

main(SERVICE)
