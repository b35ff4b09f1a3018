"""What lines to mail servers share: TLS that is verified, the password, and errors in words of our own.

Belongs here: what SMTP and IMAP need alike. Does not belong here: either protocol. What a server or a library says is
never repeated: it may quote the user, an address or worse.
"""

from __future__ import annotations

import os
import ssl
from typing import Final

from pipelines.channels.common import secret
from schemas.config import MailLine
from schemas.errors import WrongUse

SECONDS: Final = 30
_FIX: Final = "printable ASCII, as one line"


def context_of(line: MailLine) -> ssl.SSLContext:
    """TLS that checks the server's certificate and name. WrongUse for a CA file that is none."""
    try:
        return ssl.create_default_context(cafile=line.ca)
    except (OSError, ssl.SSLError):
        raise WrongUse(
            f"{line.ca}: no certificate of a CA", where="npr.toml, [channels] ca", fix="give it as PEM"
        ) from None


def password_of(line: MailLine) -> str:
    """The password of the line's user, from the environment or a file of mode 0600; "" where there is no user.

    WrongUse, without the password, where it is not there or cannot be said to a mail server.
    """
    if line.user is None:
        return ""
    if line.password_env:
        where, found = f"environment, {line.password_env}", os.environ.get(line.password_env, "")
        if not found:
            raise WrongUse(f"the environment has no {line.password_env}", where=where, fix=f"set {line.password_env}")
    elif line.password_file:
        where, found = str(line.password_file), secret(line.password_file, "password")
    else:
        raise WrongUse(f"user {line.user} has no password", where="npr.toml, [channels]", fix="give password_env")
    # Both libraries would quote the whole of it in their error.
    if not (found.isascii() and found.isprintable()):
        raise WrongUse(f"the password of {line.user} cannot be said to a mail server", where=where, fix=_FIX)
    return found


def fault_of(error: BaseException) -> str:
    """What broke a line, in a word; of TLS the reason."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not taken: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__
