"""Entry point of the subscription service: python -m services.subscription."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.subscription.app import SERVICE

main(SERVICE)
