"""Entry point of the gym service: python -m services.gym."""

from mesh.loading import loading

with loading():
    from mesh.serving.process import main
    from services.gym.app import SERVICE

main(SERVICE)
