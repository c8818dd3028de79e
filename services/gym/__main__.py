"""Entry point of the gym service: python -m services.gym."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.gym.app import SERVICE

main(SERVICE)
