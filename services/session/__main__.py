"""Entry point of the session service: python -m services.session."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.session.app import SERVICE

main(SERVICE)
