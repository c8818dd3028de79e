"""Entry point of the payment service: python -m services.payment."""

from mesh.loading import loading_service

with loading_service():
    from mesh.serving.process import main
    from services.payment.app import SERVICE

main(SERVICE)
