"""A mail server for tests: Debian's exim and dovecot on loopback, with mailboxes in a temporary folder.

Belongs here: starting and ending them, putting mail in and looking at what lies there by the file system, so that the
count is never the channel's own word. Does not belong here: what mails say (``test_ebxml_smtp``), hostile servers.

Exim takes mail for ``*.invalid`` alone, under TLS, from a user that is logged in. By address it refuses as real servers
do: who is not in ``NAMES`` is unknown (550); mails from ``small@`` are too large by the SIZE that is announced (552 to
MAIL), mails to ``full@`` after the whole of them (552 to the final dot); ``busy@`` is not taken now (451); ``gone@`` is
taken and bounces. Everything else is delivered to the maildir of its name. The one user of exim is also that of
dovecot, whose box is ``edi``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import imaplib
import os
import pwd
import shutil
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from authority import key_of, pem, private_file, private_pem
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from servers import SECONDS, _free_port, _private_folder, _process, _wait, wanting

EXIM = shutil.which("exim4") or shutil.which("exim4", path="/usr/sbin")
DOVECOT = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
PASSWORD = "only-a-test, with spaces"
USER = "edi"
NAMES = ("gone", "edi", "rehearsal", "small", "full", "busy", "partner", "unit")
LIMIT = 400_000
DAY = dt.timedelta(days=1)


@cache
def authority() -> tuple[x509.Certificate, x509.Certificate]:
    """A CA for servers, and the certificate of one named localhost. Made once for a process."""
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of test servers")])
    ca_key, key = key_of("servers"), key_of("localhost")

    def builder(subject: x509.Name, public: object) -> x509.CertificateBuilder:
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(name)
        made = made.public_key(public).serial_number(x509.random_serial_number())  # type: ignore[arg-type]
        return made.not_valid_before(now - DAY).not_valid_after(now + 30 * DAY)

    ca = builder(name, ca_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    ca = ca.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    host = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = builder(host, key.public_key()).add_extension(names, critical=False)
    leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    leaf = leaf.add_extension(issuer, critical=False)
    return ca.sign(ca_key, hashes.SHA256()), leaf.sign(ca_key, hashes.SHA256())


@dataclass(frozen=True)
class MailServers:
    """Ports of one exim and one dovecot, the PEM of their CA, and the folder with a maildir for each address."""

    smtp: int
    smtps: int
    imap: int
    imaps: int
    ca: Path
    boxes: Path

    def mails(self, name: str) -> list[bytes]:
        """Mails of a mailbox, as they were delivered, oldest first."""
        found = [path for part in ("new", "cur") for path in (self.boxes / name / part).glob("*")]
        return [path.read_bytes() for path in sorted(found, key=lambda path: path.name)]

    def empty(self, name: str) -> None:
        """Throw a mailbox away."""
        shutil.rmtree(self.boxes / name, ignore_errors=True)

    def make_folder(self, name: str) -> None:
        """A folder below the inbox of the user."""
        with imaplib.IMAP4_SSL("localhost", self.imaps, ssl_context=ssl.create_default_context(cafile=self.ca)) as line:
            line.login(USER, PASSWORD)
            line.create(name)

    def deliver(self, mail: bytes, to: str, sender: str = "partner@rehearsal.invalid") -> None:
        """Send a mail by SMTP, as the other side does. It is in its mailbox when this returns."""
        name = to.partition("@")[0]
        before = len(self.mails(name))
        context = ssl.create_default_context(cafile=self.ca)
        with smtplib.SMTP_SSL("localhost", self.smtps, local_hostname="partner.invalid", context=context) as line:
            line.login(USER, PASSWORD)
            line.sendmail(sender, [to], mail)
        self.wait_for(name, before + 1)

    def drop(self, name: str, file: str, mail: bytes) -> None:
        """Put a mail into a mailbox as a delivery does; once, however often the file's name comes."""
        box, owner = self.boxes / name, self.boxes.stat()
        for path in (box, *(box / part for part in ("new", "cur", "tmp"))):
            if not path.is_dir():
                path.mkdir()
                os.chown(path, owner.st_uid, owner.st_gid)
        if not list(box.glob(f"*/{file}*")):
            (box / "tmp" / file).write_bytes(mail)
            os.chown(box / "tmp" / file, owner.st_uid, owner.st_gid)
            (box / "tmp" / file).rename(box / "new" / file)

    def rest(self) -> None:
        """Wait until exim has dealt with all that it was given: no process but the first one, and nothing queued."""
        until, mark = time.monotonic() + SECONDS, os.fsencode(self.boxes.parent / "exim.conf")
        while _having(mark) > 1 or any((self.boxes.parent / "spool" / "input").rglob("*-D")):
            assert time.monotonic() < until, "exim does not come to rest"
            time.sleep(0.02)

    def wait_for(self, name: str, number: int) -> list[bytes]:
        """The mails of a mailbox once there are so many; exim delivers a moment after it has taken them."""
        until = time.monotonic() + SECONDS
        while len(found := self.mails(name)) < number:
            assert time.monotonic() < until, f"{name} has {len(found)} mails"
            time.sleep(0.02)
        return found


@contextmanager
def running_mail() -> Iterator[MailServers]:
    """Both servers, gone when the block ends."""
    if EXIM is None:
        wanting("exim4")
    elif DOVECOT is None:
        wanting("dovecot")
    elif os.geteuid() != 0:
        wanting("root, which exim needs to start for another configuration,")
    else:
        with _running(EXIM, DOVECOT) as made:
            yield made


@contextmanager
def _running(exim: str, dovecot: str) -> Iterator[MailServers]:
    with _private_folder("npr-mail-") as (folder, environment, _):
        folder.chmod(0o755)
        ca, certificate = authority()
        owner = pwd.getpwnam("Debian-exim")
        (folder / "ca.pem").write_bytes(pem(ca))
        (folder / "server.pem").write_bytes(pem(certificate))
        for name in ("exim.key", "dovecot.key"):
            private_file(folder / name, private_pem(key_of("localhost")))
        os.chown(folder / "exim.key", owner.pw_uid, owner.pw_gid)
        for name in ("boxes", "spool", "dovecot"):
            (folder / name).mkdir()
        for name in ("boxes", "spool"):
            os.chown(folder / name, owner.pw_uid, owner.pw_gid)
        smtp, smtps, imap, imaps = (_free_port() for _ in range(4))
        made = MailServers(smtp, smtps, imap, imaps, folder / "ca.pem", folder / "boxes")
        (folder / "exim.conf").write_text(_exim(folder, made), encoding="utf-8")
        (folder / "dovecot.conf").write_text(_dovecot(folder, made, owner), encoding="utf-8")
        (folder / "names").write_text("".join(f"{name}: {name}\n" for name in NAMES), encoding="utf-8")
        users = private_file(folder / "users", f"{USER}:{{PLAIN}}{PASSWORD}\n".encode())
        shutil.chown(users, "dovecot")
        post = [exim, "-C", str(folder / "exim.conf"), "-bdf", "-v"]
        box = [dovecot, "-F", "-c", str(folder / "dovecot.conf")]
        with (
            _process(post, environment, folder / "exim.log") as first,
            _process(box, environment, folder / "dovecot.log") as second,
        ):
            for port in (made.smtp, made.smtps):
                _wait(lambda port=port: _knock(port), first, folder / "exim.log")  # type: ignore[misc]
            for port in (made.imap, made.imaps):
                _wait(lambda port=port: _knock(port), second, folder / "dovecot.log")  # type: ignore[misc]
            yield made


def _having(word: bytes) -> int:
    """Number of processes that have a word in their command line."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # gone since
            found += word in path.read_bytes()
    return found


def _knock(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), 1).close()


def _exim(folder: Path, made: MailServers) -> str:
    return f"""
primary_hostname = mail.invalid
spool_directory = {folder}/spool
log_file_path = {folder}/spool/%slog
daemon_smtp_ports = {made.smtp} : {made.smtps}
local_interfaces = 127.0.0.1
tls_on_connect_ports = {made.smtps}
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/exim.key
dsn_advertise_hosts = *
message_size_limit = {LIMIT}
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_mail = mail
acl_smtp_rcpt = rcpt
acl_smtp_data = data
never_users =
trusted_users = root
keep_environment =
add_environment = PATH=/usr/bin:/bin
begin acl
mail:
  require encrypted = *
          authenticated = *
          message = TLS and a login first
  deny senders = small@*
       condition = ${{if >{{$message_size}}{{1000}}}}
       message = 552 5.3.4 message size exceeds what this sender may send
  accept
rcpt:
  defer recipients = busy@*
       message = 451 4.3.0 come again
  require domains = *.invalid
          message = 550 5.7.1 not a place we send to
  require verify = recipient
          message = 550 5.1.1 no such mailbox
  accept
data:
  deny condition = ${{if match{{$recipients}}{{^full@}}}}
       message = 552 5.2.2 mailbox full
  accept
begin routers
gone:
  driver = redirect
  local_parts = gone
  data = :fail: the mailbox was closed
  allow_fail
  no_verify
boxes:
  driver = accept
  domains = *.invalid
  local_parts = lsearch;{folder}/names
  transport = box
begin transports
box:
  driver = appendfile
  directory = {folder}/boxes/$local_part_data
  maildir_format
  create_directory
  user = Debian-exim
  delivery_date_add = false
  envelope_to_add = false
  return_path_add = false
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_set_id = $auth2
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}
  server_advertise_condition = ${{if def:tls_in_cipher}}
"""


def _dovecot(folder: Path, made: MailServers, owner: pwd.struct_passwd) -> str:
    return f"""
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot
log_path = {folder}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/dovecot.key
mail_location = maildir:{folder}/boxes/%n
first_valid_uid = 1
auth_failure_delay = 0
mail_max_userip_connections = 50
service imap-login {{
  inet_listener imap {{
    port = {made.imap}
  }}
  inet_listener imaps {{
    port = {made.imaps}
    ssl = yes
  }}
}}
service stats {{
  chroot =
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={owner.pw_uid} gid={owner.pw_gid} home={folder}/boxes/%n
}}
"""
