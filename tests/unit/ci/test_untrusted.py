"""Claims about archives that anybody may have made."""

from __future__ import annotations

import io
import zipfile

import pytest

from perfguard.ci import artifact
from perfguard.ci.untrusted import read_archive
from perfguard.errors import CiError


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED])
def test_damaged_bytes_are_no_archive_however_they_were_packed(method: int) -> None:
    """Every compression of a zip file complains in its own way; all end as one error that names the artifact."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as file:
        file.writestr(artifact.MANIFEST, bytes(range(256)) * 40)
    data = bytearray(packed.getvalue())
    start = 30 + len(artifact.MANIFEST) + 9  # behind the local header, and LZMA's own
    data[start : start + 40] = b"\xff" * 40
    with pytest.raises(CiError, match="artifact x: is no archive that can be read"):
        read_archive(bytes(data), "artifact x")
