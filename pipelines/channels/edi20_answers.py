"""What answers of EDI 2.0 must look like (nhn-transport 4.2): v2 by NHN's OpenAPI file, v3 by its pages.

Belongs here: their shapes, and refusing what has another. Does not belong here: calls (``pipelines.channels.edi20``),
error codes (``schemas.edi20``). Fields that we do not read are ignored, since NHN may add some.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from schemas.errors import DataRefused

M = TypeVar("M", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class AppRecError(_Answer):
    """One error of an AppRec."""

    code: str | None = Field(default=None, alias="errorCode")


class AppRec(_Answer):
    """What the service tells of an AppRec."""

    status: str | None = Field(default=None, alias="appRecStatus")
    errors: list[AppRecError] | None = Field(default=None, alias="appRecErrorList")


class StatusRow(AppRec):
    """State at one receiver. The AppRec stands in the row itself (v2), or below apprecInfo (v3)."""

    her_id: int | str = Field(alias="receiverHerId")
    transport: str | None = Field(default=None, alias="transportDeliveryState")
    apprec: AppRec | None = Field(default=None, alias="apprecInfo")


class _StatusList(_Answer):
    rows: list[StatusRow] = Field(alias="statusList")


class _Status(RootModel[_StatusList | list[StatusRow]]):
    """Version 3 wraps the rows, version 2 does not."""


class Notification(_Answer):
    """One line of the notifications."""

    offset: int | None = None
    kind: str | None = Field(default=None, alias="type")
    related: str | None = Field(default=None, alias="relatedMessageId")


class _Notifications(_Answer):
    rows: list[Notification] = Field(alias="notifications")


class _Message(_Answer):
    msg_id: str | None = Field(default=None, alias="businessDocumentId")


def status_rows(body: object, where: str) -> list[StatusRow]:
    """States of a message at its receivers. DataRefused where the answer is not as described; so below."""
    found = _described(_Status, body, where, "the status of a message").root
    return found.rows if isinstance(found, _StatusList) else found


def notifications(body: object, where: str) -> list[Notification]:
    """Rows of one page of notifications."""
    return _described(_Notifications, body, where, "notifications").rows


def msg_id_of(body: object, where: str) -> str:
    """MsgId of a message; "" where the service tells none."""
    return _described(_Message, body, where, "a message").msg_id or ""


def _described(kind: type[M], body: object, where: str, what: str) -> M:
    try:
        return kind.model_validate(body)
    except ValidationError:  # its text quotes the answer
        raise DataRefused(
            f"EDI 2.0 tells {what} in another form than NHN describes",
            where=where,
            rule="NHN, EDI 2.0: message status, notifications",
            fix="npr resume asks again, and the part stays as it is until then; where this lasts, report it to NHN",
        ) from None
