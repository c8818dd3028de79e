"""Drafts: messages filled from their templates, ready to be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interceptors.context import current_context
from interceptors.tracing.trace_context import current_traceparent
from services.communication.domain import NewMessage
from services.communication.mail import compose, message_id_header

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import datetime

    from services.communication.mail import Mailbox
    from services.communication.mail_template import Templates
    from services.communication.preferences.links import UnsubscribeLinks


class Drafts:
    """Writer of messages from `templates`, sent by `mail_from`, with unsubscribe links."""

    def __init__(self, templates: Templates, links: UnsubscribeLinks, mail_from: Mailbox) -> None:
        self._templates = templates
        self._links = links
        self._mail_from = mail_from

    def write(
        self,
        template_key: str,
        variables: Mapping[str, str],
        recipients: tuple[Mailbox, ...],
        *,
        message_id: uuid.UUID,
        user_id: uuid.UUID | None,
        now: datetime,
    ) -> NewMessage:
        """Return a new message to all recipients, with the id `message_id`.

        `user_id` is the id of the only recipient, if the recipient has an account. Raises TemplateNotFound, or
        TemplateVariableMissing with the names of all missing variables.
        """
        template = self._templates.find(template_key)
        text = template.fill(variables, self._links.link_for(user_id, template.settings.category))
        call = current_context()
        email_message_id = message_id_header(message_id, self._mail_from)
        mail = compose(
            text, sender=self._mail_from, recipients=recipients, email_message_id=email_message_id, create_time=now
        )
        return NewMessage(
            message_id=message_id,
            template_key=template_key,
            recipients=tuple(each.email for each in recipients),
            mail=mail,
            email_message_id=email_message_id,
            correlation_id=call.correlation_id if call else "",
            traceparent=current_traceparent(),
            create_time=now,
            repeats_in_doubt=template.repeats_in_doubt,
            expire_time=template.expire_time(now),
            user_id=user_id,
            category=template.settings.category,
        )
