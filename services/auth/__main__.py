"""Entry point of the auth service: python -m services.auth."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.auth.app import SERVICE

main(SERVICE)
