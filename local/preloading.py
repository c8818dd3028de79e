"""Preloading for a fork server: the code of all services, and start-up work that is equal in each process."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from contracts.method import methods_of
from contracts.services import SERVICE_NAMES, SERVICES
from interceptors import ServerValidation
from mesh.config import load_settings
from services.communication.app import load_templates
from services.communication.mail_template import TEMPLATES
from solo60.mesh.v1 import outbox_pb2

MODULES = ("mesh.serving.process", "mesh.serving.http", "mesh.telemetry.span_files")
OUTBOX = outbox_pb2.DESCRIPTOR.services_by_name["OutboxService"]


def preload() -> None:
    """Import all services and their server engine, compile the rules of their contracts, and read the mail templates.

    None of this starts a thread or creates a gRPC object.
    """
    for module in (*MODULES, *(f"services.{name}.app" for name in SERVICE_NAMES)):
        import_module(module)
    optional = ["uvloop", *(["pygrpc_native.aio"] if load_settings().engine == "native" else [])]
    for module in optional:
        with suppress(ImportError):  # not installed everywhere
            import_module(module)
    validation = ServerValidation()
    for service in (*SERVICES.values(), OUTBOX):
        for method in methods_of(service):
            validation.applies_to(method)
    load_templates(TEMPLATES)
