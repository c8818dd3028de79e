"""Entry point of the subscription service: python -m services.subscription."""

from mesh.loading import loading

with loading():
    from mesh.process import main
    from services.subscription.app import SERVICE

main(SERVICE)
