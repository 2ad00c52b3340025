"""Two files sent in by a tus client of others, over a line that breaks.

    uploads.py PORTAL ACCESS_TOKEN FOLDER REQUEST FILE REQUEST FILE

The first file goes in one portion, which breaks off in the middle; the second in portions with checksums, of which one breaks
off and one has a sum that is not its own. Each time the client is begun anew, as after a crash, with nothing but the address
that it kept in FOLDER. Ends with status 1 and the reason where something is not as it should be.
"""

import hashlib
import os
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.storage.filestorage import FileStorage
from tusclient.uploader import Uploader

PORTION = 64 * 1024
WITHIN_S = 20
LOCKED, CHECKSUM_MISMATCH = 423, 460


def ensure(holds, what):
    if not holds:
        raise SystemExit(f"uploads.py: {what}")


class Line:
    """Carries bytes between the client and the portal, and counts what goes to the portal. Told to, it breaks, once."""

    def __init__(self, portal):
        self.portal = urlsplit(portal)
        self.sent, self.breaks_at = 0, None
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def breaks_after(self, count):
        with self.lock:
            self.breaks_at = self.sent + count

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection((self.portal.hostname, self.portal.port))
            threading.Thread(target=self.carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, False), daemon=True).start()

    def allowed(self, count):
        """How many of `count` bytes to the portal still get there."""
        with self.lock:
            if self.breaks_at is not None and self.sent + count >= self.breaks_at:
                count, self.breaks_at = self.breaks_at - self.sent, None
                self.sent += count
                return count, True
            self.sent += count
            return count, False

    def carry(self, source, target, is_inward):
        try:
            while data := source.recv(16 * 1024):
                count, is_last = self.allowed(len(data)) if is_inward else (len(data), False)
                target.sendall(data[:count])
                if is_last:
                    break
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Liar(Uploader):
    """Sends sums that are not those of its portions."""

    CHECKSUM_ALGORITHM_PAIR = ("sha1", lambda portion: hashlib.sha1(portion + b"!"))


class Upload:
    def __init__(self, line, token, folder, request, path):
        self.line, self.path, self.size = line, path, os.path.getsize(path)
        self.client = TusClient(f"{line.url}/v1/files", headers={"Authorization": f"Bearer {token}"})
        self.storage = os.path.join(folder, "addresses.json")
        self.metadata = {"request": request, "filename": os.path.basename(path)}

    def begin(self, kind=Uploader, retries=0, **how):
        """A client that has just started; where it kept an address, it has asked how much is there."""
        return kind(
            self.path,
            client=self.client,
            metadata=self.metadata,
            store_url=True,
            url_storage=FileStorage(self.storage),
            retries=retries,
            retry_delay=0.2,
            **how,
        )

    def breaks(self, after, **how):
        """Begins, and loses the line; gives the upload's address."""
        uploader = self.begin(**how)
        uploader.set_url(uploader.create_url())
        self.line.breaks_after(after)
        try:
            uploader.upload()
        except TusUploadFailed as failed:
            ensure(failed.status_code is None, f"the line was to break, and {failed.status_code} was said")
            return uploader.url
        raise SystemExit("uploads.py: the line did not break")

    def goes_on(self, url, **how):
        """Begins anew and sends what is missing; gives where it went on from."""
        # The portal may not have noticed yet that nothing more comes.
        uploader = self.begin(retries=20, **how)
        ensure(uploader.url == url, f"another upload, {uploader.url}")
        begun_at = uploader.offset
        uploader.upload()
        ensure(uploader.offset == self.size and uploader.get_offset() == self.size, "not all of it is there")
        return begun_at


def refusal(uploader):
    """The status with which a portal refuses an upload."""
    try:
        uploader.upload()
    except TusUploadFailed as failed:
        return failed.status_code
    return None


def one_portion(upload):
    url = upload.breaks(upload.size // 2)
    until = time.monotonic() + WITHIN_S
    while upload.begin().offset == 0:
        ensure(time.monotonic() < until, "nothing of what came before the line broke was kept")
        time.sleep(0.05)
    begun_at = upload.goes_on(url)
    ensure(0 < begun_at <= upload.size // 2, f"{begun_at} bytes were there")
    return f"went on at {begun_at} of {upload.size}"


def with_checksums(upload):
    checked = {"chunk_size": PORTION, "upload_checksum": True}
    url = upload.breaks(5 * PORTION // 2, **checked)
    liar = upload.begin(Liar, **checked)
    ensure(liar.offset == 2 * PORTION, f"{liar.offset} bytes are there of two portions that could be checked")
    until = time.monotonic() + WITHIN_S
    while (status := refusal(liar)) == LOCKED:
        ensure(time.monotonic() < until, "a portion that broke off is waited for too long")
        time.sleep(0.05)
    ensure(status == CHECKSUM_MISMATCH, f"a wrong sum was answered {status}")
    begun_at = upload.goes_on(url, **checked)
    ensure(begun_at == 2 * PORTION, f"a portion of a wrong sum was kept: {begun_at} bytes")
    return f"went on at {begun_at} of {upload.size}"


def main():
    portal, token, folder, *files = sys.argv[1:]
    line = Line(portal)
    first, second = (Upload(line, token, folder, *files[at : at + 2]) for at in (0, 2))
    print("one portion:", one_portion(first))
    print("with checksums:", with_checksums(second))


main()
