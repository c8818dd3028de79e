"""Entry point of the communication service: python -m services.communication."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.communication.app import SERVICE

main(SERVICE)
