"""Entry point of the user service: python -m services.user."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.user.app import SERVICE

main(SERVICE)
